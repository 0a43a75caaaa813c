# The same targets for people and for .ci/run.  `make` alone says what there is.

# The system's Python first: distributions build theirs with what a profile taught the compiler, which others often
# leave out, and that is a sixth of the CPU of a message.
PYTHON ?= $(shell for each in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

BIN := .venv/bin
INSTALLED := .venv/installed
COMPILED := build/compiled/made
# What tests run in their own process are the sources; a server that runs by itself is what operators install.
WITH_COMPILED := PYTHONPATH=$(CURDIR)/build/compiled
AT_ONCE := -n 4 --dist loadfile --no-loadscope-reorder
LOAD := $(addprefix tests/bench/build/,smtpload smtpsink slowsync.so)

.DEFAULT_GOAL := help
.PHONY: help run test check looks units format generate bench crash fuzz timing image unpacked clean

help:
	@echo 'make run      start a server to try out, on 127.0.0.1, ports STARTTLS_PORT=2587 and IMPLICIT_PORT=2465'
	@echo 'make test     every test that can run here'
	@echo 'make check    format, lint, types, import rules, generated files, coverage'
	@echo 'make format   put the sources into shape'
	@echo 'make generate make the generated files anew'
	@echo 'make bench    CPU, speed and memory beside PEERS=aiosmtpd; or postfix, exim, chasquid, haraka'
	@echo 'make crash    kill a server KILLS=50 times while mail goes through it, and count'
	@echo 'make fuzz     talk nonsense to a server for SECONDS=60, and judge every answer'
	@echo 'make timing   ask a clock who has an account: TRIES=500 failed logins of each kind; for a quiet machine'
	@echo 'make image    build the container image, and send mail through it'
	@echo 'make unpacked get what `make test` needs of Debian packages that conflict with Postfix'
	@echo 'make clean    remove everything that was made here'

# Only what is locked, by hash; then gatepost itself, from this folder.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or later with venv is missing: apt-get install python3-venv,' \
		'or name one: make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo 'venv is missing: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -qq --no-deps --no-build-isolation -e .
	@touch $@

# gatepost as it is installed for operators: compiled, where that is possible.
$(COMPILED): $(INSTALLED) hatch_build.py $(shell find src -name '*.py')
	@echo 'making gatepost: a minute or two the first time'
	@rm -rf build/wheel $(@D)
	@GATEPOST_COMPILE=auto $(BIN)/python -m hatchling build --target wheel --directory build/wheel >/dev/null
	@$(BIN)/python -m zipfile -e build/wheel/*.whl $(@D)
	@touch $@

run: $(COMPILED)
	@$(WITH_COMPILED) exec $(BIN)/gatepost demo

# The tests of pyproject's testpaths, which test and check have in common: `make check test` runs them once.
units: $(COMPILED)
	$(if $(filter check,$(MAKECMDGOALS)),rm -f .coverage .coverage.*)
	$(WITH_COMPILED) $(BIN)/$(if $(filter check,$(MAKECMDGOALS)),coverage run -m )pytest $(AT_ONCE)

# make test IN_PROCESS='-o pythonpath=tests' runs what was compiled in the process of the tests, too.
test: units
	$(WITH_COMPILED) $(BIN)/pytest $(AT_ONCE) $(IN_PROCESS) tests/integration tests/interop

check: looks units
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100

looks: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/gatepost config sample | diff config/gatepost.toml -
	$(BIN)/python tests/protocols.py --check

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(INSTALLED)
	$(BIN)/gatepost config sample > config/gatepost.toml
	$(BIN)/python tests/protocols.py
	$(BIN)/python tests/image/lock.py

KILLS ?= 50
MESSAGES ?= 0
SEED ?= $(shell date +%s)

crash: $(COMPILED)
	$(WITH_COMPILED) $(BIN)/python tests/crash/crash.py --kills $(KILLS) --messages $(MESSAGES) --seed $(SEED)

SECONDS ?= 60
LOOP ?= uvloop

fuzz: $(COMPILED)
	$(WITH_COMPILED) $(BIN)/python tests/fuzz/fuzzing.py --seconds $(SECONDS) --seed $(SEED) --loop $(LOOP) $(if $(DIALOG),--dialog $(DIALOG))

TRIES ?= 500
STORE ?= sqlite
RUNS ?= configured,bare

timing: $(COMPILED)
	$(WITH_COMPILED) $(BIN)/python tests/timing/timing.py --tries $(TRIES) --seed $(SEED) --store $(STORE) --runs $(RUNS) \
		$(if $(MECHANISMS),--mechanisms $(MECHANISMS))

bench: $(COMPILED) $(LOAD)
	$(WITH_COMPILED) $(BIN)/python tests/bench/bench.py

tests/bench/build/%.so: tests/bench/load/%.c tests/bench/load/Makefile
	@mkdir -p $(@D)
	$(MAKE) -C $(@D) -f ../load/Makefile VPATH=../load $(@F)

tests/bench/build/%: tests/bench/load/%.c tests/bench/load/Makefile
	@mkdir -p $(@D)
	$(MAKE) -C $(@D) -f ../load/Makefile VPATH=../load $(@F)

# Next hops of the tests whose packages conflict with Postfix's; nothing is installed.  Packages are verified by apt.
UNPACKED := exim:exim4-daemon-light exim:libnss-wrapper chasquid:chasquid

unpacked: tests/bench/build/unpacked

tests/bench/build/unpacked:
	@mkdir -p $(@D)/debs
	cd $(@D)/debs && rm -f *.deb && apt-get download -q $(foreach each,$(UNPACKED),$(lastword $(subst :, ,$(each))))
	$(foreach each,$(UNPACKED),dpkg-deb -x $(@D)/debs/$(lastword $(subst :, ,$(each)))_*.deb $(@D)/$(firstword $(subst :, ,$(each))) &&) touch $@

image: $(INSTALLED)
	@$(BIN)/python tests/image/make.py

clean:
	rm -rf .venv run build dist tests/bench/build .coverage .coverage.* .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
