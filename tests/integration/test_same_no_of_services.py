"""Services (HTTP, LDAP, Dovecot) have many reasons for a no; clients see one answer to all of them, at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from directory_server import PEOPLE, SERVICE, SERVICE_PASSWORD, Slapd
from dovecot import Dovecot
from gatepost.observe.events import LoginFailed
from gatepost.testing import RunningServer
from integration.attempts import attempt, encoded, shape
from integration.conftest import Start
from integration.test_same_no import DELAY, LIMITS, check_moments, greeted, name, talk
from login_service import LoginService

MECHANISMS = ("PLAIN", "LOGIN")
SECRET = "pässword of all of them"
WRONG = "wrong secret"

# What the log says of the right password for an account that the service describes so.
REASONS = {
    "wrong": WRONG,
    "bare": WRONG,
    "disabled": "account disabled: left us",
    "pending": "credential not valid yet",
    "expired": "credential expired",
    "network": "credential not for network of 127.0.0.1",
    "listener": "credential not for listener submissions",
    "plain-only": "credential not for mechanism LOGIN",
    "login-only": "credential not for mechanism PLAIN",
}
STRANGERS = ("unknown@example.org", "*", "wrong@example.org)(uid=*", "%u", "nobody" * 40)


@dataclass
class Service:
    """Settings of a store, and what the log says of each login, with the right password."""

    store: dict[str, Any]
    reasons: dict[str, str]
    strangers: str = "unknown login"

    def refused(self, mechanism: str) -> dict[str, str]:
        """Return what the log says of each login that *mechanism* cannot open."""
        known = {name(kind): reason for kind, reason in self.reasons.items() if kind != f"{mechanism.lower()}-only"}
        return known | dict.fromkeys(STRANGERS, self.strangers)


IN_JSON: dict[str, dict[str, Any]] = {
    "wrong": {},
    "bare": {"credentials": []},
    "disabled": {"active": False, "reason": "left us"},
    "pending": {"not_before": 32_000_000_000},
    "expired": {"expires": 1_600_000_000},
    "network": {"networks": ["192.0.2.0/24"]},
    "listener": {"listeners": ["submission"]},
    "plain-only": {"mechanisms": ["PLAIN"]},
    "login-only": {"mechanisms": ["LOGIN"]},
}


async def over_http() -> AsyncIterator[Service]:
    made = LoginService()
    for kind, facts in IN_JSON.items():
        is_of_account = kind in {"wrong", "bare", "disabled"}
        made.accounts[name(kind)] = {
            "password": SECRET[::-1] if kind == "wrong" else SECRET,
            "facts": facts if is_of_account else {"credentials": [{"id": "password", **facts}]},
            "opens": None if kind == "bare" else "password",
        }
    await made.start()
    yield Service({"type": "http", "url": f"http://127.0.0.1:{made.port}/", "timeout": "30s"}, REASONS)
    await made.stop()


IN_ENTRIES = {
    "wrong": {},
    "bare": {},
    "disabled": {"gatepostDisabled": ["left us"]},
    "pending": {"gatepostNotBefore": ["29990101000000Z"]},
    "expired": {"gatepostExpires": ["20200101000000Z"]},
    "network": {"gatepostNetwork": ["192.0.2.0/24"]},
    "listener": {"gatepostListener": ["submission"]},
    "plain-only": {"gatepostMechanism": ["PLAIN"]},
    "login-only": {"gatepostMechanism": ["LOGIN"]},
    "odd": {"gatepostExpires": ["tomorrow"]},
    "reset": {},
    "locked": {},
}


def in_directory(slapd: Slapd, folder: Path, where: dict[str, str]) -> Service:
    for kind, facts in IN_ENTRIES.items():
        password = None if kind == "bare" else (SECRET[::-1] if kind == "wrong" else SECRET).encode()
        entry = slapd.add(name(kind), password, facts=facts)
        if kind == "reset":
            slapd.put(entry, "pwdReset", "TRUE")
        elif kind == "locked":
            slapd.put(entry, "pwdAccountLockedTime", "000001010000Z")
    (folder / "ldap.password").write_bytes(SERVICE_PASSWORD)
    attributes = {
        "disabled": "gatepostDisabled",
        "not_before": "gatepostNotBefore",
        "expires": "gatepostExpires",
        "networks": "gatepostNetwork",
        "listeners": "gatepostListener",
        "mechanisms": "gatepostMechanism",
    }
    store = {
        "type": "ldap",
        "urls": [slapd.ldapi],
        "bind_dn": SERVICE,
        "bind_password_file": str(folder / "ldap.password"),
        "timeout": "30s",
        "attributes": attributes,
        **where,
    }
    odd = "account disabled: gatepostExpires in the directory has a value that cannot be read"
    return Service(store, {**REASONS, "odd": odd, "reset": WRONG, "locked": WRONG})


IN_FIELDS = {
    "wrong": "",
    "bare": "gatepost_password=no",
    "disabled": "gatepost_disabled=left%%20us",  # Dovecot's variables begin with one
    "pending": "gatepost_not_before=2999-01-01",
    "expired": "gatepost_expires=2020-01-01",
    "network": "allow_nets=192.0.2.0/24",
    "listener": "gatepost_listeners=submission",
    "plain-only": "gatepost_mechanisms=PLAIN",
    "login-only": "gatepost_mechanisms=LOGIN",
    "nologin": "nologin",
    "revoked": "gatepost_revoked=2020-01-01",
}


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    made = Dovecot()
    try:
        for kind, field in IN_FIELDS.items():
            password = SECRET[::-1] if kind == "wrong" else SECRET
            made.user(name(kind), f"{{PLAIN}}{password}", f"{field} userdb_{field}" if field else "")
        made.user(name("users-network"), f"{{PLAIN}}{SECRET}", "userdb_allow_nets=192.0.2.0/24")
        made.user(name("locked"), "{CRYPT}!")
        made.start()
        yield made
    finally:
        made.remove()


def of_dovecot(server: Dovecot, *, has_userdb: bool) -> Service:
    store = {"type": "dovecot", "socket": str(server.client), "timeout": "60s"}
    # It checks networks itself, and then says no more than that it was no.
    reasons = {**REASONS, "network": WRONG, "nologin": WRONG, "locked": WRONG, "revoked": "credential revoked"}
    if not has_userdb:
        return Service(store, reasons, WRONG)
    return Service({**store, "userdb_socket": str(server.userdb)}, {**reasons, "users-network": REASONS["network"]})


@pytest.fixture(params=["http", "ldap, searched", "ldap, by name", "dovecot", "dovecot without userdb"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    match request.param:
        case "http":
            async for made in over_http():
                yield made
        case "ldap, searched":
            where = {"base": PEOPLE, "filter": "(&(objectClass=inetOrgPerson)(|(uid={login})(mail={login})))"}
            yield in_directory(request.getfixturevalue("slapd"), tmp_path, where)
        case "ldap, by name":
            yield in_directory(request.getfixturevalue("slapd"), tmp_path, {"dn_template": f"uid={{login}},{PEOPLE}"})
        case kind:
            yield of_dovecot(request.getfixturevalue("dovecot"), has_userdb=kind == "dovecot")


async def say_once(server: RunningServer, login: str, secret: str, mechanism: str, authzid: str = "") -> str:
    """Log in on a connection of its own; return the last reply."""
    client, _ = await greeted(server)
    said = await attempt(client, mechanism, login, secret, authzid=authzid)
    await client.close()
    return shape(said[-1])


@pytest.mark.rfc("4954 §9")
@pytest.mark.rfc("4616 §2")
async def test_every_kind_of_no_of_a_service_is_that_of_a_name_that_nobody_knows(
    start: Start, service: Service
) -> None:
    async with start(auth={"mechanisms": MECHANISMS}, limits=LIMITS, store=[service.store]) as server:
        for mechanism in MECHANISMS:
            reasons = service.refused(mechanism)
            server.events.clear()
            # All at once: Dovecot looks but twice a second whom it owes a no.
            talks = await asyncio.gather(*(talk(server, mechanism, login, SECRET) for login in reasons))
            expected = talks[list(reasons).index(name("unknown"))][0]
            assert f" {mechanism}" in expected[0]
            assert expected[-1] == "535 5.7.8 Authentication credentials invalid [gp]", mechanism
            for login, (said, _) in zip(reasons, talks, strict=True):
                assert said == expected, (mechanism, login)
            told = [(each.login, each.reason) for each in server.events if isinstance(each, LoginFailed)]
            assert sorted(told) == sorted([*reasons.items()] * 2)
            own = name(f"{mechanism.lower()}-only")
            assert (await say_once(server, own, SECRET, mechanism)).startswith("235 ")
        # Acting as another, with the right password.
        for authzid in (name("disabled"), name("unknown")):
            assert await say_once(server, name("plain-only"), SECRET, "PLAIN", authzid) == expected[-1]
        assert (await say_once(server, name("plain-only"), SECRET, "PLAIN", name("plain-only"))).startswith("235 ")
        assert not server.troubles


@pytest.mark.rfc("4616 §2")
async def test_what_is_no_password_is_told_so_whoever_the_name_is(start: Start, service: Service) -> None:
    """A bind with an empty password may succeed, and one that is too long for us may be too long for a service, too."""
    async with start(auth={"mechanisms": MECHANISMS}, limits=LIMITS, store=[service.store]) as server:

        async def told(login: str, password: str) -> list[str]:
            client, _ = await greeted(server)
            lines = [f"AUTH PLAIN {encoded(chr(0).join(('', login, password)).encode())}"]
            lines += [f"AUTH LOGIN {encoded(login.encode())}", encoded(password.encode())]
            said = [shape(await client.say(line)) for line in lines]
            await client.close()
            return said

        logins = [*STRANGERS, *map(name, service.reasons)]
        for password, no in (
            ("", "501 5.5.2 Syntax error [gp]"),
            ("x" * 6000, "535 5.7.8 Authentication credentials invalid [gp]"),
        ):
            replies = await asyncio.gather(*(told(login, password) for login in logins))
            assert replies[0] == [no, "334 Password:", no]
            for login, said in zip(logins, replies, strict=True):
                assert said == replies[0], login
        assert not server.troubles


async def test_no_no_of_a_service_comes_before_its_moment(start: Start, service: Service) -> None:
    auth = {"mechanisms": MECHANISMS, "failure_delay": f"{DELAY}s"}
    async with start(auth=auth, limits=LIMITS, store=[service.store]) as server:
        for mechanism in MECHANISMS:
            await check_moments(server, mechanism, dict.fromkeys(service.refused(mechanism), SECRET))
        assert not server.troubles
