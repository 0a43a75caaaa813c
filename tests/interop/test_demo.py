"""The server to try out: what it prints works as printed, and what it made stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import PATIENCE, free_ports, program, wait_for


@contextmanager
def demo(folder: Path, starttls_port: int, implicit_port: int) -> Iterator[str]:
    """Run ``gatepost demo`` in *folder* until it says ready; yield what it printed; end it as Ctrl-C does."""
    output = folder / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gatepost", "demo", "--directory", "run", "--certificates", "certs"),
                *("--starttls-port", str(starttls_port), "--implicit-port", str(implicit_port)),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:

        def is_ready() -> bool:
            assert process.poll() is None, output.read_text()
            return "ready" in output.read_text().splitlines()

        wait_for("ready", is_ready)
        yield output.read_text()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


def line_of(printed: str, name: str) -> str:
    """Return the line that begins with the program's name."""
    program(name)
    (line,) = re.findall(rf"^{name} .*$", printed, re.MULTILINE)
    return line


def test_the_printed_lines_work_and_their_mail_lies_where_it_says(tmp_path: Path) -> None:
    with demo(tmp_path, *free_ports(2)) as printed:
        for name in ("swaks", "curl"):
            done = subprocess.run(
                ["/bin/sh", "-c", line_of(printed, name)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, done.stdout + done.stderr

        (sandbox,) = re.findall(r"^mail +(\S+)$", printed, re.MULTILINE)
        kept = wait_for("the mail", lambda: len(found := list(Path(sandbox).glob("*.eml"))) == 2 and found)
        assert sorted(re.search(r"^Subject: (\w+)", path.read_text(), re.MULTILINE)[1] for path in kept) == [
            "Hello",
            "test",
        ]
        assert {json.loads(path.with_suffix(".json").read_text())["account"] for path in kept} == {"demo@example.org"}


def test_a_second_start_keeps_secret_and_configuration_but_takes_other_ports(tmp_path: Path) -> None:
    def secret(printed: str) -> str:
        (found,) = re.findall(r"^secret +(\S+)$", printed, re.MULTILINE)
        return found

    with demo(tmp_path, *free_ports(2)) as printed:
        first = secret(printed)
    config = tmp_path / "run" / "gatepost.toml"
    config.write_text(config.read_text() + "\n[limits]\nrecipients = 50\n")

    ports = free_ports(2)
    with demo(tmp_path, *ports) as printed:
        assert secret(printed) == first
        assert [int(port) for port in re.findall(r"localhost:(\d+)", printed)] == ports
    assert "recipients = 50" in config.read_text()


@pytest.mark.parametrize("name", ["demo.secret", "state/secret.key", "../certs/key.pem"])
def test_what_is_secret_is_for_its_owner_only(name: str, tmp_path: Path) -> None:
    with demo(tmp_path, *free_ports(2)):
        assert (tmp_path / "run" / name).stat().st_mode & 0o077 == 0
