"""The passwd-file store does what every store must."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from contracts.store_contract import Keeper, StoreContract
from gatepost.identity.store import SCRAM_SHA_256, Account
from gatepost.identity.stores.file import FileStore
from gatepost.identity.stores.passwd_file import PasswdFile
from gatepost.sasl.scram import derive, parse_record
from identities import KEYS, Clock

_SALT = bytes(range(16))


def record(password: str) -> str:
    """Return a record as `doveadm pw` writes it."""
    found = parse_record(derive(password.encode(), _SALT, 4096))
    return "{SCRAM-SHA-256}" + str(found).removeprefix("SCRAM-SHA-256$").replace("$", ",").replace(":", ",")


def moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


@dataclass
class PasswdFileKeeper(Keeper):
    path: Path
    clock: Clock
    lines: dict[str, list[tuple[str, dict[str, str]]]] = field(default_factory=dict)
    """Of each login: password and extra fields of its lines."""

    def add_account(self, login: str, **facts: Any) -> None:
        ours = {}
        for name, value in facts.items():
            ours[f"gatepost_{name}"] = _text(value)
        self.lines[login] = [("", ours)]
        self.write()

    def add_credential(self, login: str, **facts: Any) -> str:
        self.clock.time += 1
        lines = self.lines[login]
        label = facts.pop("label", "") or f"number-{self.clock.time:.0f}"
        password = "{SSHA256}" + "A" * 52 if facts.pop("lacking", ()) else record(f"secret {label}")
        extras = {"gatepost_credential": label}
        for name, value in facts.items():
            match name:
                case "networks":
                    extras["allow_nets"] = ",".join(value)
                case "senders":
                    extras["gatepost_only_senders"] = ",".join(value)
                case "expires":
                    extras["gatepost_expires"] = moment(value)
                case "sandbox":
                    extras["gatepost_sandbox"] = "yes"
                case _:
                    extras[f"gatepost_{name}"] = ",".join(value)
        if lines[0][0]:
            lines.append((password, extras))
        else:
            lines[0] = (password, lines[0][1] | extras)
        self.write()
        [made] = [each for each in self.read(login).credentials if each.label == label]
        return made.id

    def disable(self, login: str, reason: str) -> None:
        self.lines[login][0][1]["gatepost_disabled"] = quote(reason)
        self.write()

    def remove(self, login: str) -> None:
        del self.lines[login]
        self.write()

    def revoke(self, credential: str) -> None:
        for login, lines in self.lines.items():
            for each in self.read(login).credentials:
                if each.id == credential:
                    [line] = [line for line in lines if line[1].get("gatepost_credential") == each.label]
                    line[1]["gatepost_revoked"] = moment(self.now())
        self.write()

    def now(self) -> float:
        return self.clock.now()

    def read(self, login: str) -> Account:
        return PasswdFile(KEYS, 4096)(self.path.read_bytes()).accounts[login]

    def write(self) -> None:
        """Replace the file, as a careful program does."""
        new = self.path.with_suffix(".new")
        new.touch(0o600)
        new.write_text(
            "".join(
                f"{login}:{password}::::::" + " ".join(f"{name}={value}" for name, value in extras.items()) + "\n"
                for login, lines in self.lines.items()
                for password, extras in lines
            )
        )
        os.replace(new, self.path)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else str(value)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[PasswdFileKeeper]:
    path = tmp_path / "users"
    path.touch(0o600)
    clock = Clock()
    store = FileStore(path, PasswdFile(KEYS, 4096), clock)
    yield PasswdFileKeeper(store, path, clock, spare=SCRAM_SHA_256, others=())
    store.close()


class TestPasswdFileStore(StoreContract):
    """All of the contract."""
