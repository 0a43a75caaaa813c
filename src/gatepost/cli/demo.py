"""``gatepost demo``: make what is missing for a server to try out, start it, and say how to use it.

Everything lies in one folder and is made once: certificate, configuration, an account with a generated secret.  What is
there is left alone, so a configuration that was changed (to a smart host, say) stays.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import click

from gatepost.cli.output import Told

__all__ = ["demo"]

HOSTNAME = "mail.example.org"
LOGIN = "demo@example.org"
RECIPIENT = "friend@example.net"
PORTS = {"starttls": 2587, "implicit": 2465}

CONFIG = """\
# A server to try out.  This file is made once: change what you like, and start it again.

hostname = "{hostname}"
state_dir = "state"

[[listener]]
name = "submission"
address = "127.0.0.1"
port = {starttls}
tls = "starttls"

[[listener]]
name = "submissions"
address = "127.0.0.1"
port = {implicit}
tls = "implicit"

[tls]
certificate = {certificate}
key = {key}

# Keeps all mail in a folder.  To send it on, put a smart host in its place:
#
# [[route]]
# name = "smarthost"
# transport = "smarthost"
# host = "smtp.example.net"
# login = "you@example.net"
# password_file = "smarthost.password"
[[route]]
name = "sandbox"
transport = "sandbox"
path = "sandbox"
"""

MESSAGE = f"""\
From: {LOGIN}
To: {RECIPIENT}
Subject: Hello

Hello from curl.
"""


@click.command(hidden=True)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path("run"), show_default=True)
@click.option(
    "--certificates", type=click.Path(path_type=Path, file_okay=False), default=Path("certs"), show_default=True
)
@click.option("--starttls-port", type=click.IntRange(1, 65535), envvar="STARTTLS_PORT", help="Default: 2587.")
@click.option("--implicit-port", type=click.IntRange(1, 65535), envvar="IMPLICIT_PORT", help="Default: 2465.")
def demo(directory: Path, certificates: Path, starttls_port: int | None, implicit_port: int | None) -> None:
    """Make what is missing for a server to try out, and start it."""
    directory, certificates = directory.resolve(), certificates.resolve()
    config = directory / "gatepost.toml"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not all((certificates / name).exists() for name in ("ca.pem", "cert.pem", "key.pem")):
            _gatepost("cert", "dev", "--force", "--directory", str(certificates), "--name", HOSTNAME)
        ports = _configure(config, certificates, {"starttls": starttls_port, "implicit": implicit_port})
        secret = _secret(directory / "demo.secret", config)
        message = directory / "hello.eml"
        message.write_text(MESSAGE, newline="\r\n", encoding="ascii")
    except OSError as error:
        raise Told(f"{error.filename}: {error.strerror}") from None
    _serve(config, _instructions(directory, certificates / "ca.pem", ports, secret))


def _gatepost(*arguments: str) -> str:
    """Run another verb; return what it printed."""
    done = subprocess.run(  # noqa: S603 - our own program, our own words
        [sys.executable, "-m", "gatepost", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Told(f"gatepost {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _configure(config: Path, certificates: Path, wanted: dict[str, int | None]) -> dict[str, int]:
    """Write the configuration if there is none; put the ports that are asked for into it; return those in force."""
    if not config.exists():
        values = {
            "certificate": json.dumps(str(certificates / "cert.pem")),
            "key": json.dumps(str(certificates / "key.pem")),
        }
        config.write_text(CONFIG.format(hostname=HOSTNAME, **PORTS, **values), encoding="utf-8")
    text = config.read_text(encoding="utf-8")
    ports = _ports(text)
    for tls, port in wanted.items():
        if port is not None and tls in ports and port != ports[tls]:
            text = re.sub(rf"^port = {ports[tls]}$", f"port = {port}", text, count=1, flags=re.MULTILINE)
            config.write_text(text, encoding="utf-8")
    return _ports(text)


def _ports(text: str) -> dict[str, int]:
    """Return the port of the listener for each kind of TLS."""
    try:
        return {each["tls"]: each["port"] for each in tomllib.loads(text).get("listener", ())}
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        return {}  # `serve` will say what is wrong with it


def _secret(path: Path, config: Path) -> str:
    """Return the secret of the demo account; make both if they are not there."""
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    accounts = json.loads(_gatepost("account", "list", "--json", "--config", str(config)))
    if not any(each["login"] == LOGIN for each in accounts):
        _gatepost("account", "add", LOGIN, "--sender", LOGIN, "--config", str(config))
    secret = _gatepost("credential", "add", LOGIN, "--label", "demo", "--config", str(config)).strip()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secret}\n")
    return secret


def _instructions(directory: Path, ca: Path, ports: dict[str, int], secret: str) -> str:
    """Say how to use the server."""
    lines = [
        "",
        f"login     {LOGIN}",
        f"secret    {secret}",
        f"config    {directory / 'gatepost.toml'}",
        f"mail      {directory / 'sandbox'}",
        "",
    ]
    if "starttls" in ports:
        swaks = [
            "swaks",
            "--server",
            f"localhost:{ports['starttls']}",
            "--tls",
            "--tls-verify",
            "--tls-ca-path",
            str(ca),
        ]
        swaks += ["--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", secret]
        lines += [shlex.join([*swaks, "--from", LOGIN, "--to", RECIPIENT]), ""]
    if "implicit" in ports:
        curl = [
            "curl",
            "--silent",
            "--show-error",
            "--url",
            f"smtps://localhost:{ports['implicit']}",
            "--cacert",
            str(ca),
        ]
        curl += ["--user", f"{LOGIN}:{secret}", "--mail-from", LOGIN, "--mail-rcpt", RECIPIENT]
        lines += [shlex.join([*curl, "--upload-file", str(directory / "hello.eml")]), ""]
    return "\n".join(lines)


def _serve(config: Path, instructions: str) -> NoReturn:
    """Become ``gatepost serve``; a child stays behind, hands its log through and speaks up when it is ready."""
    sys.stdout.flush()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _watch(reading, instructions)
        os._exit(0)
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)
    os.execv(sys.executable, [sys.executable, "-m", "gatepost", "serve", "--config", str(config)])  # noqa: S606


def _watch(reading: int, instructions: str) -> None:
    """Hand every line of the server through, until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the server; its end is ours
    try:
        with os.fdopen(reading, "rb") as log:
            for line in log:
                sys.stdout.buffer.write(line)
                if b'"event":"ready"' in line.replace(b'": "', b'":"'):
                    sys.stdout.buffer.write(f"{instructions}\nready\n".encode())
                sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass
