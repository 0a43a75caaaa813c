"""A private Dovecot, with nothing but its auth service: real, as root and as an ordinary user, on its own sockets."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["Dovecot"]

_PATIENCE = 60.0

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols =
ssl = no
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
auth_mechanisms = {mechanisms}
auth_failure_delay = {failure_delay}
{more}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener {folder}/auth-client {{
    mode = 0600
  }}
  unix_listener {folder}/auth-userdb {{
    mode = 0600
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


def _program() -> str:
    found = shutil.which("dovecot", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if found is None:
        pytest.skip("dovecot is not there; apt-get install dovecot-core")
    return found


class Dovecot:
    """It runs between `start` and `stop`, as often as wanted; `remove` takes its folder away.

    Args:
        mechanisms: those that it offers.
        failure_delay: how long it holds back a no.
        more: of its configuration.
        port: for TCP; 0 is none.
    """

    def __init__(
        self, *, mechanisms: str = "plain login", failure_delay: str = "0", more: str = "", port: int = 0
    ) -> None:
        self._program = _program()
        # A short path: that of a socket has 107 octets at most.
        self.folder = Path(tempfile.mkdtemp(prefix="gp-dovecot-"))
        # Its processes run as other users when root starts it.
        self.folder.chmod(0o755)
        self.client, self.userdb, self.log = (
            self.folder / name for name in ("auth-client", "auth-userdb", "dovecot.log")
        )
        users = ("dovenull", "dovecot", "dovecot")
        if os.geteuid():
            name = pwd.getpwuid(os.geteuid()).pw_name
            users = (name, name, grp.getgrgid(os.getegid()).gr_name)
        config = _CONFIG.format(
            folder=self.folder,
            login_user=users[0],
            internal_user=users[1],
            internal_group=users[2],
            mechanisms=mechanisms,
            failure_delay=failure_delay,
            more=more,
            port=port,
        )
        (self.folder / "dovecot.conf").write_text(config)
        self._lines: dict[str, str] = {}
        self._edition = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.write()

    def user(self, login: str, password: str = "", extras: Mapping[str, str] | str = "") -> None:
        """Add or change somebody; *extras* are fields of the passdb, or with ``userdb_`` before them of the userdb."""
        if not isinstance(extras, str):
            extras = " ".join(f"{name}={value}" for name, value in extras.items())
        self._lines[login] = f"{login}:{password}:1000:1000::/nonexistent::{extras}"
        self.write()

    def remove_users(self, *logins: str) -> None:
        for each in logins:
            del self._lines[each]
        self.write()

    def write(self) -> None:
        """Write its users down; return when it goes by them, if it runs: it looks at the file once a second."""
        self._edition += 1
        marker = f"edition-{self._edition}@example.invalid"
        new = self.folder / "users.new"
        new.write_text(
            "".join(f"{line}\n" for line in (*self._lines.values(), f"{marker}:!:1000:1000::/nonexistent::"))
        )
        new.chmod(0o644)
        new.replace(self.folder / "users")
        if self._process is not None:
            self._wait("read its users again", lambda: self._knows(marker))

    def start(self) -> None:
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-F", "-c", self.folder / "dovecot.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait("start", lambda: self._knows(f"edition-{self._edition}@example.invalid"))

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with socket.socket(socket.AF_UNIX) as kept:
            kept.settimeout(_PATIENCE)
            is_open = kept.connect_ex(str(self.client)) == 0
            process.terminate()
            process.wait(_PATIENCE)
            # Whoever serves a connection goes on doing so for a while.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(ConnectionError):
                while is_open and kept.recv(4096):
                    pass

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _knows(self, login: str) -> bool:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_PATIENCE)
            try:
                asked.connect(str(self.userdb))
                asked.sendall(f"VERSION\t1\t1\nUSER\t1\t{login}\tservice=smtp\n".encode())
                said = b""
                while said.count(b"\n") < 3:
                    said += asked.recv(4096) or b"\n\n\n"
            except OSError:
                return False
        return b"\nUSER\t1\t" in said

    def _wait(self, what: str, is_so: object) -> None:
        assert callable(is_so)
        until = time.monotonic() + _PATIENCE
        while not is_so():
            over = self._process is None or self._process.poll() is not None
            if over or time.monotonic() > until:
                said = "".join(each.read_text() for each in (self.folder / "start.log", self.log) if each.exists())
                raise RuntimeError(f"Dovecot did not {what}: {said[-2000:]}")
            time.sleep(0.05)
