"""Try an image out: it must start on a read-only root, take mail on both ports, hand it on, and end when told.

The configuration is the one that README.md tells to write, with a next hop inside of the container's own network: it
reaches nobody else.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engines import Built, Container, EngineContainer, Mount
from namespaces import NamespaceContainer
from shell import ROOT, WORK, Failed, run, say

__all__ = ["Figures", "try_out"]

_UID = 10001
_NEXT_HOP = """
[[route]]
name = "next"
transport = "smarthost"
host = "127.0.0.1"
port = 2525
tls = "none"
"""
_STATUS = """
import glob, os, re, socket
status = open('/proc/1/status').read()
def field(name): return re.search(name + r':\\s+(\\S+)', status)[1]
shares = 0
for each in glob.glob('/proc/[0-9]*'):
    try:
        if 'serve' in open(each + '/cmdline').read().split('\\0'):
            shares += int(re.search(r'^Pss:\\s+(\\d+)', open(each + '/smaps_rollup').read(), re.M)[1])
    except (OSError, TypeError):
        pass
try:
    open('/etc/gatepost-was-here', 'w')
    writable = True
except OSError:
    writable = False
print(field('Uid'), int(field('CapEff'), 16), field('NoNewPrivs'), writable, shares)
"""


# What is compiled, and what must not be there: all that only builds.
_CONTENTS = """
import pathlib, shutil, sysconfig
import gatepost
here = pathlib.Path(gatepost.__file__).parent
print(sum(1 for each in here.rglob('*.so') if not each.name.partition('.')[0].endswith('__mypyc')))
for each in ('gcc', 'cc', 'as', 'ld', 'make', 'pip', 'pip3'):
    if shutil.which(each):
        print(each)
for each in ('hatchling', 'mypy', 'mypyc', 'pip', 'setuptools'):
    if (here.parent / each).exists():
        print(each)
for each in (sysconfig.get_path('include'), '/usr/include', '/usr/local/include'):
    if pathlib.Path(each).exists():
        print(each)
"""


@dataclass
class Figures:
    """What was measured."""

    ready_seconds: list[float] = field(default_factory=list)
    healthy_seconds: float = 0.0
    memory_kib: int = 0
    compiled: int = 0
    messages: int = 0
    stop_seconds: float = 0.0


class _Server:
    """A running container, and the lines it logs."""

    def __init__(self, container: Container, *arguments: str) -> None:
        self._container = container
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._began = time.monotonic()
        self.process = container.start(*arguments)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_until_ready(self) -> float:
        """Return the seconds from the start to ``ready``."""
        until = self._began + 30
        last = ""
        while time.monotonic() < until and (self.process.poll() is None or not self._lines.empty()):
            try:
                last = self._lines.get(timeout=0.1)
            except queue.Empty:
                continue
            if json.loads(last).get("event") == "ready":
                return time.monotonic() - self._began
        self.process.kill()
        raise Failed(f"the server is not ready: {last}{self.process.communicate()[1]}")

    def stop(self, grace: float) -> float:
        """Stop it; return the seconds it took."""
        began = time.monotonic()
        self._container.stop()
        try:
            code = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"the server does not end within {grace:.0f} s of SIGTERM") from None
        if code:
            raise Failed(f"the server ended with exit code {code}")
        return time.monotonic() - began


def try_out(image: Built, *, by_engine: bool) -> Figures:
    """Run *image* and send mail through it.

    Raises:
        Failed: something did not work; its text says what.
    """
    kind = EngineContainer if by_engine else NamespaceContainer
    folder = WORK / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    config, state, secrets = (folder / each for each in ("config", "state", "secrets"))
    for each in (config, state, secrets):
        each.mkdir(parents=True)
    _write_config(config, secrets)
    shutil.chown(state, _UID, _UID) if not by_engine else state.chmod(0o777)
    mounts = [Mount(config, "/etc/gatepost"), *(Mount(each, f"/run/secrets/{each.name}") for each in secrets.iterdir())]
    with _container(kind(image, mounts, {"GATEPOST_CONFIG": "/etc/gatepost/readme.toml"})) as bare:
        _refuses_without_volume(bare)
    mounts.append(Mount(state, "/var/lib/gatepost", is_writable=True))
    figures = Figures()
    with _container(kind(image, mounts, {})) as container:
        _serve(container, figures)
        # What was made is there for the next container.
        server = _Server(container, "serve")
        figures.ready_seconds.append(server.wait_until_ready())
        if "tim@example.org" not in run(*container.inside("gatepost", "account", "list")):
            raise Failed("the account is gone in the second container")
        server.stop(30)
    if image.is_compiled != (figures.compiled > 0):
        raise Failed(f"{figures.compiled} modules of the image are compiled")
    return figures


@contextmanager
def _container(container: Container) -> Iterator[Container]:
    try:
        yield container
    finally:
        container.remove()


def _write_config(config: Path, secrets: Path) -> None:
    """Write the configuration of README.md, the same with our next hop, and the secrets that it names."""
    section = (ROOT / "README.md").read_text().partition("## In Docker")[2]
    found = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    if found is None:
        raise Failed('README.md has no configuration in "In Docker"')
    (config / "readme.toml").write_text(found[1])
    (config / "gatepost.toml").write_text(found[1].partition("[[route]]")[0] + _NEXT_HOP)
    pems = WORK / "trial" / "pems"
    run(ROOT / ".venv/bin/gatepost", "cert", "dev", "--directory", pems, "--name", "mail.example.org")
    shutil.copy(pems / "cert.pem", secrets / "tls_certificate")
    shutil.copy(pems / "key.pem", secrets / "tls_key")
    (secrets / "smarthost_password").write_text("correct horse\n")
    for each in (*secrets.iterdir(), *config.iterdir()):
        each.chmod(0o644)


def _refuses_without_volume(container: Container) -> None:
    """It must not start where accepted mail would vanish; all else in the README's configuration is good."""
    process = container.start("check")
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed("gatepost check does not end") from None
    problems = [line for line in errors.splitlines() if line and not line.endswith("(warning)")]
    if process.returncode != 1 or not problems or not all("would vanish" in line for line in problems):
        raise Failed(f"without a volume, gatepost check ends with {process.returncode} and says: {errors}")
    say("state: refused without a volume, as it must be")


def _serve(container: Container, figures: Figures) -> None:
    server = _Server(container, "serve")
    figures.ready_seconds.append(server.wait_until_ready())
    figures.healthy_seconds = _wait_until_healthy(container)
    received = _next_hop(container)
    run(*container.inside("gatepost", "account", "add", "tim@example.org"))
    secret = run(*container.inside("gatepost", "credential", "add", "tim@example.org")).split()[-1]
    time.sleep(1.2)  # the workers look for new accounts each second
    for listener in ("submission", "submissions"):
        sending = ("gatepost", "send", "--login", "tim@example.org", "--to", "friend@example.net")
        steps = run(*container.inside(*sending, "--secret-stdin", "--listener", listener), stdin=f"{secret}\n")
        figures.messages += sum(line.split()[1:3] == ["data", "ok"] for line in steps.splitlines())
    until = time.monotonic() + 20
    while len(received) < figures.messages:
        if time.monotonic() > until:
            raise Failed(f"{figures.messages} messages were accepted, {len(received)} reached the next hop")
        time.sleep(0.05)
    _look(container, figures)
    figures.stop_seconds = server.stop(30)


def _wait_until_healthy(container: Container) -> float:
    """Ask as the image's HEALTHCHECK does; return the seconds until it said yes."""
    began = time.monotonic()
    while time.monotonic() - began < 15:
        done = subprocess.run(container.inside("gatepost", "health"), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return time.monotonic() - began
        time.sleep(0.2)
    raise Failed(f"gatepost health says no: {done.stdout}{done.stderr}")


def _next_hop(container: Container) -> list[str]:
    """Run a next hop in the container's network until the container ends; return what it receives, a subject each."""
    words = ("-u", "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:2525", "-c", "aiosmtpd.handlers.Debugging", "stdout")
    received: list[str] = []
    process = subprocess.Popen(
        container.inside("/opt/gatepost/bin/python", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None
        received.extend(line for line in process.stdout if line.startswith("Subject:"))
        process.wait()

    threading.Thread(target=read, daemon=True).start()
    return received


def _look(container: Container, figures: Figures) -> None:
    """See as whom it runs, and what it takes."""
    seen = run(*container.inside("/opt/gatepost/bin/python", "-c", _STATUS)).split()
    if seen[:4] != [str(_UID), "0", "1", "False"]:
        raise Failed(f"uid, capabilities, no-new-privileges, writable root: {' '.join(seen[:4])}")
    figures.memory_kib = int(seen[4])
    compiled, *builds = run(*container.inside("/opt/gatepost/bin/python", "-c", _CONTENTS)).split()
    if builds:
        raise Failed(f"the image holds what only builds: {' '.join(builds)}")
    figures.compiled = int(compiled)
