"""What a mail program is to submit, and what each is driven with.

A program that is not here skips its test, naming its Debian package.  A login that is refused is `Refused`, whatever
way the program has to say so; anything else that goes wrong is an error of the test.
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["SECONDS", "TOKENS", "Client", "Refused", "Submission", "run"]

TOKENS = ("OAUTHBEARER", "XOAUTH2")
"""The mechanisms that take an access token for a secret."""

SECONDS = 120


class Refused(Exception):
    """The login was refused, says the client."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What to submit, where, and how to log in there.

    Args:
        mechanism: the only one to use; empty for what the program chooses by itself.
        secret: the password, or the access token.
        message: with CRLF, not dot-stuffed.
        ca: certificate authority to trust, alone.
        folder: an empty folder for the client's files.
        tls_version: the only one, as GnuTLS names it; empty for any.
    """

    port: int
    tls: Literal["starttls", "implicit"]
    mechanism: str
    login: str
    secret: str
    sender: str
    recipient: str
    message: bytes
    ca: Path
    folder: Path
    tls_version: str = ""

    @property
    def context(self) -> ssl.SSLContext:
        """Return a context that trusts *ca* alone."""
        return ssl.create_default_context(cafile=str(self.ca))

    def write_message(self, *, crlf: bool) -> Path:
        """Write the message into a file; return its path."""
        path = self.folder / "message"
        path.write_bytes(self.message if crlf else self.message.replace(b"\r\n", b"\n"))
        return path


Send = Callable[[Submission], None]


@dataclass(frozen=True, slots=True)
class Client:
    """A mail program and the mechanisms it has.

    Args:
        composes: it writes a header of its own, and takes over no more than From, To, Subject and the body.
    """

    send: Send
    mechanisms: tuple[str, ...]
    composes: bool = False


def run(arguments: list[str], refusal: str, *, stdin: Path | None = None, home: Path, **environment: str) -> None:
    """Run a program to its end; *refusal* is what it prints when the login is refused."""
    with stdin.open("rb") if stdin else contextlib.nullcontext(subprocess.DEVNULL) as source:
        done = subprocess.run(
            arguments,
            stdin=source,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", **environment},
        )
    if done.returncode == 0:
        return
    said = (done.stdout + done.stderr).decode(errors="replace")
    if refusal in said:
        raise Refused(said)
    raise RuntimeError(f"{arguments[0]} ended with {done.returncode}:\n{said}")
