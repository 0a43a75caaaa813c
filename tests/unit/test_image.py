"""What the container image, compose.yaml and the systemd units promise, as far as their text tells."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from gatepost.config.schema import Config
from image.lock import ROOT, compiler, runtime, subset

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
UNITS = ROOT / "config" / "systemd"
BUILDER = DOCKERFILE.split("\nFROM ")[2]
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def instructions(stage: str) -> dict[str, str]:
    joined = stage.replace("\\\n", " ")
    found = re.findall(r"^([A-Z]+) +(.*)$", joined, flags=re.MULTILINE)
    return {name: " ".join(value.split()) for name, value in found}


def test_the_image_is_made_of_what_is_locked_and_no_more() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert (ROOT / "requirements-image.lock").read_text() == subset(text, runtime()), "run: make generate"
    assert not {"hatchling", "mypy", "pytest", "ruff", "setuptools"} & runtime()


def test_the_wheel_is_built_with_what_is_locked_and_no_more() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert (ROOT / "requirements-compile.lock").read_text() == subset(text, compiler()), "run: make generate"
    assert {"hatchling", "mypy", "setuptools"} <= compiler()
    assert not {"pytest", "ruff"} & compiler()


def test_a_name_that_is_not_locked_is_missed() -> None:
    with pytest.raises(SystemExit, match="lacks nothing-of-ours"):
        subset((ROOT / "requirements.lock").read_text(), {"click", "nothing-of-ours"})


def test_of_what_only_builds_nothing_but_the_wheel_is_taken() -> None:
    assert re.findall(r"^COPY --from=(.*)$", DOCKERFILE, flags=re.MULTILINE) == [
        "compiler /tmp/wheel ./wheel",
        "builder /image/ /",
    ]
    assert "pip uninstall --quiet --yes pip setuptools \\\n" in DOCKERFILE
    (locks,) = re.findall(r"--requirement .*", BUILDER)
    assert locks == "--requirement wheelhouse/requirements-image.lock"


def test_packages_are_held_to_their_hashes() -> None:
    steps = re.findall(r"pip (?:install|wheel) .*?(?=&&|\n[A-Z])", DOCKERFILE, re.DOTALL)
    assert len(steps) == 4
    assert "--require-hashes" in steps[0]
    assert "--no-deps --no-build-isolation" in steps[1]
    assert "--require-hashes" in steps[2]
    assert "--no-deps --no-index" in steps[3]


def test_the_last_stage_is_what_users_were_promised() -> None:
    found = instructions(LAST_STAGE)
    assert found["USER"] == "10001:10001"
    assert found["EXPOSE"] == "587 465"
    assert found["VOLUME"] == str(Config.model_fields["state_dir"].default)
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert found["HEALTHCHECK"].endswith('CMD ["gatepost", "health"]')
    assert (found["ENTRYPOINT"], found["CMD"]) == ('["gatepost"]', '["serve"]')
    assert "GATEPOST_IMAGE=" in found["ENV"]
    assert "RUN" not in found


def test_both_stages_before_the_last_begin_with_a_base_that_can_be_chosen() -> None:
    stages = re.findall(r"^FROM (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert stages == ["${COMPILER} AS compiler", "${BASE} AS builder", "scratch"]
    assert "\nARG COMPILER=${BASE}\n" in DOCKERFILE


def test_what_the_image_is_built_from_comes_to_the_builder_and_nothing_that_was_compiled_here() -> None:
    kept_out, taken = [], []
    for line in (ROOT / ".dockerignore").read_text().splitlines()[1:]:
        (taken if line.startswith("!") else kept_out).append(line.removeprefix("!"))
    assert kept_out == ["*", "**/__pycache__", "**/*.so"]
    copied = re.findall(r"^COPY (?!--)(.*) \./.*$", DOCKERFILE, flags=re.MULTILINE)
    assert {each.rstrip("*") for line in copied for each in line.split()} == set(taken)


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "compose.yaml", "tests/image/engines.py"])
def test_no_file_names_a_registry(name: str) -> None:
    assert not re.search(r"docker\.io|quay\.io|ghcr\.io|gcr\.io|https?://", (ROOT / name).read_text())


@pytest.mark.parametrize(
    "line",
    [
        "read_only: true",
        "cap_drop: [ALL]",
        'security_opt: ["no-new-privileges:true"]',
        "stop_grace_period: 30s",
        "restart: unless-stopped",
        '- "587:587"',
        '- "465:465"',
        "- state:/var/lib/gatepost",
        "- ./gatepost.toml:/etc/gatepost/gatepost.toml:ro",
        'test: ["CMD", "gatepost", "health"]',
        "net.ipv4.ip_unprivileged_port_start: 0",
    ],
)
def test_compose_runs_it_with_nothing_it_does_not_need(line: str) -> None:
    assert line in [each.strip() for each in COMPOSE.splitlines()]


def test_the_readme_names_the_secrets_that_compose_hands_over() -> None:
    section = (ROOT / "README.md").read_text().partition("## In Docker")[2]
    toml = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert toml is not None
    config = tomllib.loads(toml[1])
    used = {config["tls"]["certificate"], config["tls"]["key"], config["route"][0]["password_file"]}
    handed = re.search(r"^    secrets: \[(.*)\]$", COMPOSE, flags=re.MULTILINE)
    assert handed is not None
    assert used == {f"/run/secrets/{name.strip()}" for name in handed[1].split(",")}
    assert all(f"file: ./secrets/{name.strip()}\n" in COMPOSE for name in handed[1].split(","))


def test_only_the_parent_is_told_to_end_and_has_the_time() -> None:
    unit = (UNITS / "gatepost.service").read_text().splitlines()
    assert {"Type=notify", "KillMode=mixed", "TimeoutStopSec=30", "StateDirectory=gatepost", "LimitCORE=0"} <= set(unit)


def test_the_sockets_are_those_of_the_default_listeners() -> None:
    unit = (UNITS / "gatepost.socket").read_text()
    ports = {int(each) for each in re.findall(r"^ListenStream=(\d+)$", unit, flags=re.MULTILINE)}
    assert ports == {listener.port for listener in Config.model_fields["listener"].default}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing: apt-get install systemd")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    for unit in UNITS.iterdir():
        shutil.copy(unit, folder)
    for name in ("sysinit.target", "basic.target", "shutdown.target", "network-online.target", "sockets.target"):
        (folder / name).write_text("[Unit]\nDescription=stands in\n")
    for program in ("opt/gatepost/bin/gatepost", "bin/sh"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    command = ["systemd-analyze", "verify", f"--root={tmp_path}", "gatepost.service", "gatepost.socket"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
