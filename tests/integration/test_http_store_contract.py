"""The HTTP store does what every store must, with a real service behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.store_contract import Keeper, NameContract
from gatepost.identity.stores.http import HttpStore
from identities import KEYS, Clock, closing
from login_service import LoginService


@dataclass
class HttpKeeper(Keeper):
    service: LoginService
    clock: Clock

    def add_account(self, login: str, **facts: Any) -> None:
        self.service.accounts[login] = {"password": "x", "facts": {"credentials": [], **facts}}

    def add_credential(self, login: str, **facts: Any) -> str:
        credentials = self.service.accounts[login]["facts"]["credentials"]
        credentials.append({"id": f"number-{len(credentials)}", **facts})
        return str(credentials[-1]["id"])

    def disable(self, login: str, reason: str) -> None:
        self.service.accounts[login]["facts"] |= {"active": False, "reason": reason}

    def remove(self, login: str) -> None:
        del self.service.accounts[login]

    def now(self) -> float:
        return self.clock.now()


@pytest.fixture
async def keeper() -> AsyncIterator[HttpKeeper]:
    service, clock = LoginService(), Clock()
    await service.start()
    store = HttpStore(f"http://127.0.0.1:{service.port}/", KEYS, clock, cache_seconds=0.0)
    yield HttpKeeper(store, service, clock)
    store.close()
    await closing()
    await service.stop()


class TestHttpStore(NameContract):
    """What does not hang on verifiers."""
