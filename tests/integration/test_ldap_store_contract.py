"""The LDAP store does what every store must, with a real slapd behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.store_contract import Keeper, NameContract
from directory_server import PEOPLE, SERVICE, SERVICE_PASSWORD, Slapd
from gatepost.identity.ldap.filter import parse_filter
from gatepost.identity.ldap.server import parse_server
from gatepost.identity.stores.ldap import LdapStore, Where
from gatepost.identity.stores.ldap_account import PASSWORD, AttributeNames
from gatepost.model.identity import Secret
from identities import KEYS, Clock

_NAMES = AttributeNames(
    senders=("gatepostSender",),
    disabled="gatepostDisabled",
    password="pwdChangedTime",
    label="gatepostLabel",
    expires="gatepostExpires",
    mechanisms="gatepostMechanism",
    listeners="gatepostListener",
    networks="gatepostNetwork",
    only_senders="gatepostOnlySender",
    sandbox="gatepostSandbox",
    max_message_bytes="gatepostMaxBytes",
    max_recipients="gatepostMaxRecipients",
    null_sender="gatepostNullSender",
)


def _values(value: Any) -> list[str]:
    match value:
        case bool():
            return [str(value).upper()]
        case float():
            return [dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y%m%d%H%M%SZ")]
        case list():
            return value
        case _:
            return [str(value)]


@dataclass
class LdapKeeper(Keeper):
    slapd: Slapd
    clock: Clock

    def add_account(self, login: str, **facts: Any) -> None:
        names = {"senders": "gatepostSender"} | {name: getattr(_NAMES, name) for name in facts if name != "senders"}
        self.slapd.add(login, facts={names[name]: _values(value) for name, value in facts.items()})

    def add_credential(self, login: str, **facts: Any) -> str:
        names = facts | {"only_senders": facts["senders"]} if "senders" in facts else facts
        for name, value in names.items():
            if name != "senders":
                self.slapd.put(self._name(login), getattr(_NAMES, name), *_values(value))
        self.slapd.put(self._name(login), "userPassword", "secret-pass-9")
        return PASSWORD

    def disable(self, login: str, reason: str) -> None:
        self.slapd.put(self._name(login), "gatepostDisabled", reason)

    def remove(self, login: str) -> None:
        self.slapd.remove(self._name(login))

    def now(self) -> float:
        return self.clock.now()

    def _name(self, login: str) -> str:
        return f"uid={login},{PEOPLE}"


@pytest.fixture(params=["search", "template"])
async def keeper(slapd: Slapd, request: pytest.FixtureRequest) -> AsyncIterator[LdapKeeper]:
    clock = Clock()
    where = {
        "search": Where(PEOPLE, "one", parse_filter("(&(objectClass=inetOrgPerson)(uid={login}))")),
        "template": Where(template=f"uid={{login}},{PEOPLE}"),
    }[request.param]
    store = LdapStore(
        [parse_server(slapd.ldapi)],
        where,
        KEYS,
        clock,
        service=(SERVICE, Secret(SERVICE_PASSWORD)),
        attributes=_NAMES,
        timeout=60.0,
        cache_seconds=0.0,
    )
    yield LdapKeeper(store, slapd, clock)
    store.close()


class TestLdapStore(NameContract):
    """What does not hang on verifiers."""
