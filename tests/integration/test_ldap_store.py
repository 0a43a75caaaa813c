"""The store that asks a directory: a real OpenLDAP, with TLS, policies, restarts, and names made to deceive it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from directory_server import BASE, PEOPLE, SERVICE, SERVICE_PASSWORD, Slapd
from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.errors import StoreUnavailable
from gatepost.identity.ldap.filter import parse_filter
from gatepost.identity.ldap.server import parse_server
from gatepost.identity.store import MECHANISM_SCHEMES, Checked, PasswordStore
from gatepost.identity.stores.http_context import client_context
from gatepost.identity.stores.ldap import LdapStore, Where
from gatepost.identity.stores.ldap_account import AttributeNames
from gatepost.model.identity import Secret
from gatepost.observe.events import Event, LoginFailed, SessionRevoked, StoreAmbiguous, StoreAway, StoreBack
from identities import KEYS, Clock, closing
from integration.attempts import shape
from integration.conftest import LOGIN, SECRET, Start
from integration.test_session import until
from integration.test_several_stores import hello, plain
from pems import make_pems
from servers import Authority, free_ports

ANN, ANNS = "ann@example.org", Secret("pässword-2".encode())
FILTER = "(&(objectClass=inetOrgPerson)(|(uid={login})(mail={login})))"
SERVICE_ACCOUNT = (SERVICE, Secret(SERVICE_PASSWORD))

Make = Callable[..., LdapStore]


@pytest.fixture
async def make(slapd: Slapd, authority: Authority) -> AsyncIterator[Make]:
    """Return what makes a store that asks that OpenLDAP; tests wait for it as long as it takes."""
    made = []

    def make(*urls: str, search: str = FILTER, **options: Any) -> LdapStore:
        facts = {
            "context": client_context(authority.ca),
            "service": SERVICE_ACCOUNT,
            "timeout": 60.0,
            "cache_seconds": 0.0,
            **options,
        }
        where = facts.pop("where", Where(PEOPLE, "sub", parse_filter(search)))
        store = LdapStore(
            [parse_server(each) for each in urls or (slapd.ldapi,)], where, KEYS, facts.pop("clock", Clock()), **facts
        )
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
    await closing()


def opened(checked: Checked | None) -> bool:
    """Tell whether a password opened something; the name must be known."""
    assert checked is not None
    return checked.credential is not None


@pytest.mark.parametrize("way", ["ldapi", "ldap", "ldaps"])
@pytest.mark.rfc("4511 §4.14")
@pytest.mark.rfc("4513 §5.1.3")
async def test_the_entry_is_found_and_its_password_tried(slapd: Slapd, make: Make, way: str) -> None:
    slapd.add(ANN, ANNS.reveal(), facts={"mail": [ANN, "a.nn@example.net"]})
    store = make(getattr(slapd, way))
    assert isinstance(store, PasswordStore)
    checked = await store.check(ANN, ANNS)
    assert checked is not None
    assert checked.credential is not None
    assert (checked.account.login, checked.credential.id) == (ANN, "password")
    assert sorted(str(each) for each in checked.account.senders) == ["a.nn@example.net", ANN]
    assert not opened(await store.check(ANN, Secret(b"wrong")))
    assert not opened(await store.check(ANN, Secret(ANNS.reveal() + b"\0")))
    assert opened(await store.check("a.nn@example.net", ANNS))
    assert await store.check("nobody", ANNS) is None
    assert await store.find("nobody") is None
    assert await store.find(ANN) is not None
    survey = await store.survey(0.0)
    assert set(survey.lacking) == set(MECHANISM_SCHEMES.values())


@pytest.mark.rfc("4513 §5.1.2")
async def test_an_empty_password_opens_nothing(slapd: Slapd, make: Make) -> None:
    slapd.add(ANN, ANNS.reveal())
    store = make()
    assert not opened(await store.check(ANN, Secret(b"")))
    assert not opened(await store.check(ANN, Secret(b"\0")))
    assert await store.check("nobody", Secret(b"")) is None


@pytest.mark.parametrize(
    "login",
    ["*", "an*", "ann)(uid=*", "*)(objectClass=*", "*))(|(uid=*", "\\61nn", "ann\\", "ann\0", "(", "", "ann,ou=x"],
)
@pytest.mark.parametrize("by", ["search", "template"])
@pytest.mark.rfc("4515 §3")
@pytest.mark.rfc("4514 §2.4")
async def test_no_login_changes_what_is_asked(slapd: Slapd, make: Make, login: str, by: str) -> None:
    slapd.add("ann", ANNS.reveal())
    where = (
        Where(template=f"uid={{login}},{PEOPLE}") if by == "template" else Where(PEOPLE, "sub", parse_filter(FILTER))
    )
    store = make(where=where)
    assert await store.check(login, ANNS) is None
    assert opened(await store.check("ann", ANNS))


@pytest.mark.parametrize("login", [" ann", "ann ", "  ann  ", "ann  x", "ann x "])
@pytest.mark.parametrize("by", ["search", "template"])
@pytest.mark.rfc("4518 §2.6.1")
async def test_nobody_has_more_names_by_spaces_that_a_directory_does_not_see(
    slapd: Slapd, make: Make, login: str, by: str
) -> None:
    slapd.add("ann", ANNS.reveal())
    slapd.add("ann x", ANNS.reveal())
    where = (
        Where(template=f"uid={{login}},{PEOPLE}") if by == "template" else Where(PEOPLE, "sub", parse_filter(FILTER))
    )
    store = make(where=where)
    assert await store.check(login, ANNS) is None
    assert await store.find(login) is None
    assert opened(await store.check("ann", ANNS))
    assert opened(await store.check("ann x", ANNS))


@pytest.mark.parametrize("login", ["o'neill+x", 'a,b;c"d', "#hash", "a\\b", "a=b", "<ann>", "a (b)", "añn", "a*b"])
@pytest.mark.parametrize("by", ["search", "template"])
@pytest.mark.rfc("4515 §3")
@pytest.mark.rfc("4514 §2.4")
async def test_logins_with_every_special_character_are_found(slapd: Slapd, make: Make, login: str, by: str) -> None:
    escaped = "".join(f"\\{each}" if each in '",+;<>\\#=' else each for each in login)
    slapd.add(login, ANNS.reveal(), name=escaped)
    where = (
        Where(template=f"uid={{login}},{PEOPLE}") if by == "template" else Where(PEOPLE, "sub", parse_filter(FILTER))
    )
    assert opened(await make(where=where).check(login, ANNS))


async def test_a_login_of_several_entries_is_nobodys_and_is_told(slapd: Slapd, make: Make) -> None:
    told: list[Event] = []
    for uid in ("ann", "anna", "annika"):
        slapd.add(uid, ANNS.reveal(), facts={"mail": [ANN]})
    store = make(emit=told.append)
    assert not opened(await store.check(ANN, ANNS))
    assert told == [StoreAmbiguous("ldap", ANN)]
    account = await store.find(ANN)
    assert account is not None
    assert (account.is_active, account.credentials) == (False, ())
    assert opened(await store.check("anna", ANNS))


async def test_an_account_has_one_name_whichever_of_its_logins_was_given(slapd: Slapd, make: Make) -> None:
    dn = slapd.add("ann", ANNS.reveal(), facts={"mail": [ANN, "a@example.org"]})
    store = make(attributes=AttributeNames(login="uid"))
    for login in ("ann", ANN, "a@example.org"):
        checked = await store.check(login, ANNS)
        assert checked is not None
        assert checked.credential is not None
        assert checked.account.login == "ann"
    slapd.put(dn, "gatepostLabel", "one", "two")
    found = await make(attributes=AttributeNames(login="gatepostLabel")).find("ann")
    assert found is not None
    assert not found.is_active


async def test_what_the_password_policy_locks_is_a_no_like_every_other(slapd: Slapd, make: Make) -> None:
    dn = slapd.add(ANN, ANNS.reveal())
    store = make()
    assert opened(await store.check(ANN, ANNS))
    for _ in range(5):
        assert not opened(await store.check(ANN, Secret(b"wrong")))
    assert not opened(await store.check(ANN, ANNS))
    slapd.put(dn, "pwdAccountLockedTime")
    assert opened(await store.check(ANN, ANNS))
    # It opens nothing but the way to a new one.
    slapd.put(dn, "pwdReset", "TRUE")
    assert not opened(await store.check(ANN, ANNS))
    slapd.put(dn, "pwdReset")
    assert opened(await store.check(ANN, ANNS))


async def test_facts_of_the_entry_are_those_of_the_account(slapd: Slapd, make: Make) -> None:
    facts = {
        "gatepostSender": ["*@example.org", "SMTP:a@example.net", "X500:/o=x", "no address"],
        "gatepostExpires": ["20280101000000Z"],
        "gatepostNetwork": ["192.0.2.0/24", "2001:db8::/32"],
        "gatepostRate": ["7"],
        "gatepostRecipient": ["*@example.org"],
    }
    dn = slapd.add(ANN, ANNS.reveal(), facts=facts)
    store = make(
        attributes=AttributeNames(
            senders=("gatepostSender", "mail"),
            disabled="gatepostDisabled",
            expires="gatepostExpires",
            networks="gatepostNetwork",
            recipients="gatepostRecipient",
            messages_per_minute="gatepostRate",
        )
    )
    checked = await store.check(ANN, ANNS)
    assert checked is not None
    account, credential = checked
    assert credential is not None
    assert [str(each) for each in account.senders] == ["*@example.org", "a@example.net"]
    assert (credential.expires, credential.messages_per_minute) == (1830297600.0, 7)
    assert sorted(str(each) for each in credential.networks) == ["192.0.2.0/24", "2001:db8::/32"]
    assert account.is_active
    slapd.put(dn, "gatepostDisabled", "FALSE")
    assert (await store.find(ANN)).is_active  # type: ignore[union-attr]
    slapd.put(dn, "gatepostDisabled", "left us")
    found = await store.find(ANN)
    assert found is not None
    assert (found.is_active, found.state_reason) == (False, "left us")
    slapd.put(dn, "gatepostDisabled")
    slapd.put(dn, "gatepostNetwork", "everywhere")
    found = await store.find(ANN)
    assert found is not None
    assert not found.is_active
    assert "gatepostNetwork" in found.state_reason


async def test_certificates_are_verified(slapd: Slapd, make: Make, tmp_path: Path) -> None:
    slapd.add(ANN, ANNS.reveal())
    other = client_context(Authority(tmp_path).ca)
    for url in (slapd.ldap, slapd.ldaps):
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await make(url, context=other).check(ANN, ANNS)


async def test_a_service_account_that_is_refused_is_trouble_of_the_store(slapd: Slapd, make: Make) -> None:
    slapd.add(ANN, ANNS.reveal())
    with pytest.raises(StoreUnavailable, match="service account") as caught:
        await make(service=(SERVICE, Secret(b"changed"))).check(ANN, ANNS)
    assert "changed" not in str(caught.value)


async def test_a_base_that_is_not_there_is_trouble_of_the_store(slapd: Slapd, make: Make) -> None:
    with pytest.raises(StoreUnavailable, match="result 32"):
        await make(where=Where(f"ou=elsewhere,{BASE}", "sub", parse_filter(FILTER))).check(ANN, ANNS)


async def test_the_next_server_is_asked_when_one_does_not_answer(slapd: Slapd, make: Make) -> None:
    slapd.add(ANN, ANNS.reveal())
    [port] = free_ports(1)
    store = make(f"ldap://127.0.0.1:{port}", slapd.ldaps)
    for _ in range(3):
        assert opened(await store.check(ANN, ANNS))


async def test_connections_are_kept_and_a_restart_of_the_directory_costs_nobody_anything(
    make: Make, authority: Authority, tmp_path: Path
) -> None:
    own = Slapd(tmp_path / "own", authority)
    own.start()
    try:
        own.add(ANN, ANNS.reveal())
        store = make(own.ldapi)
        assert opened(await store.check(ANN, ANNS))
        own.stop()
        own.start()
        assert opened(await store.check(ANN, ANNS))
    finally:
        own.stop()


async def test_in_a_running_server_it_stands_behind_the_database_goes_away_and_comes_back(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    own = Slapd(tmp_path / "own", authority)
    own.start()
    password = ANNS.reveal().decode()
    (tmp_path / "ldap.password").write_bytes(SERVICE_PASSWORD + b"\n")
    stores = [
        {"type": "sqlite", "path": str(tmp_path / "state/accounts.db")},
        {
            "type": "ldap",
            "urls": [own.ldapi],
            "bind_dn": SERVICE,
            "bind_password_file": str(tmp_path / "ldap.password"),
            "base": PEOPLE,
            "filter": FILTER,
            "timeout": "30s",
            "cache_time": "1s",
            "attributes": {"disabled": "gatepostDisabled", "login": "uid"},
        },
    ]
    try:
        dn = own.add("ann", ANNS.reveal(), facts={"mail": [ANN]})
        async with start(store=stores) as server:
            assert [each.name for each in server.worker.authority.offered("submissions")] == ["PLAIN", "LOGIN"]
            assert (await plain(server, LOGIN, SECRET)).startswith("235")
            assert (await plain(server, LOGIN, "wrong")).startswith("535 5.7.8")
            assert (await plain(server, ANN, password)).startswith("235")
            assert (await plain(server, ANN, "wrong")).startswith("535 5.7.8")
            assert (await plain(server, "nobody@example.org", "x")).startswith("535 5.7.8")
            for acting_as, code in (("ann", "235"), (ANN, "235"), (LOGIN, "535"), ("", "235")):
                assert (await plain(server, ANN, password, acting_as)).startswith(code), acting_as
            own.stop()
            await asyncio.sleep(1.1)
            for login, text in ((ANN, password), ("nobody@example.org", "x"), (LOGIN, "wrong")):
                assert (await plain(server, login, text)).startswith("454 4.7.0")
            assert (await plain(server, LOGIN, SECRET)).startswith("235")
            own.start()
            await until(lambda: any(isinstance(each, StoreBack) for each in server.events))
            assert [type(each) for each in server.events if isinstance(each, StoreAway | StoreBack)] == [
                StoreAway,
                StoreBack,
            ]
            client = await hello(server)
            token = base64.b64encode(f"\0{ANN}\0{password}".encode()).decode()
            assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
            own.put(dn, "gatepostDisabled", "left us")
            async with asyncio.timeout(60):
                assert (await client.reply()).startswith("421 4.7.0")
            [revoked] = [each for each in server.events if isinstance(each, SessionRevoked)]
            assert revoked.reason == "account disabled: left us"
            assert (await plain(server, ANN, password)).startswith("535 5.7.8")
            own.put(dn, "gatepostDisabled")
            await asyncio.sleep(1.1)
            client = await hello(server)
            assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
            own.remove(dn)
            async with asyncio.timeout(60):
                assert (await client.reply()).startswith("421 4.7.0")
            assert not server.troubles
    finally:
        own.stop()


async def test_every_no_of_a_directory_is_the_same_no(start: Start, slapd: Slapd, tmp_path: Path) -> None:
    (tmp_path / "ldap.password").write_bytes(SERVICE_PASSWORD)
    password = ANNS.reveal().decode()
    slapd.add("good", ANNS.reveal())
    slapd.add("left", ANNS.reveal(), facts={"gatepostDisabled": ["left us"]})
    slapd.add("late", ANNS.reveal(), facts={"gatepostExpires": ["20200101000000Z"]})
    slapd.add("odd", ANNS.reveal(), facts={"gatepostExpires": ["tomorrow"]})
    slapd.put(slapd.add("spent", ANNS.reveal()), "pwdReset", "TRUE")
    slapd.add("bare")
    for uid in ("one", "two"):
        slapd.add(uid, ANNS.reveal(), facts={"mail": ["both@example.org"]})
    store = {
        "type": "ldap",
        "urls": [slapd.ldapi],
        "bind_dn": SERVICE,
        "bind_password_file": str(tmp_path / "ldap.password"),
        "base": PEOPLE,
        "filter": FILTER,
        "timeout": "30s",
        "cache_time": "0s",
        "attributes": {"disabled": "gatepostDisabled", "expires": "gatepostExpires"},
    }
    reasons = {
        "left": "account disabled: left us",
        "late": "credential expired",
        "odd": "account disabled: gatepostExpires in the directory has a value that cannot be read",
        "spent": "wrong secret",
        "bare": "wrong secret",
        "both@example.org": "wrong secret",
        "nobody": "unknown login",
        "*": "unknown login",
    }
    async with start(store=[store]) as server:
        assert (await plain(server, "good", password)).startswith("235")
        expected = shape(await plain(server, "good", "wrong"))
        assert expected == "535 5.7.8 Authentication credentials invalid [gp]"
        for login, reason in reasons.items():
            server.events.clear()
            assert shape(await plain(server, login, password)) == expected, login
            [told] = [each for each in server.events if isinstance(each, LoginFailed)]
            assert told.reason == reason
        assert not server.troubles


GOOD = f'urls = ["ldaps://ldap.example.org"]\nbase = "{BASE}"\nfilter = "(uid={{login}})"\n'


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (GOOD.replace("ldaps", "http"), "store.urls: is no URL of a directory"),
        (GOOD.replace("ldap.example.org", "ldap.example.org/dc=x??sub"), "store.urls: is no URL of a directory"),
        (GOOD.replace("ldap.example.org", "ldap.example.org:99999"), "store.urls: is no URL of a directory"),
        (GOOD.replace("ldaps", "ldap") + "starttls = false", "store.starttls: would send passwords in clear"),
        (GOOD.replace("{login}", "tim"), "store.filter: does not ask for the login"),
        (GOOD.replace(")", ""), "store.filter: is no filter, at character 1"),
        (GOOD.replace('filter = "(uid={login})"', ""), "store: has no filter; add it, or dn_template"),
        (GOOD.replace(f'base = "{BASE}"', ""), "store: has no base; add it, or dn_template"),
        (GOOD + 'dn_template = "uid={login},o=x"', "store.base: has no effect beside dn_template"),
        ('urls = ["ldaps://x.example"]\ndn_template = "{login}"', "store.dn_template: is no name with {login}"),
        ('urls = ["ldaps://x.example"]\ndn_template = "uid=tim"', "store.dn_template: is no name with {login}"),
        (GOOD + 'bind_dn = "cn=x"', "store.bind_dn: has no bind_password_file; add it"),
        (GOOD + 'bind_password_file = "key.pem"', "store.bind_password_file: has no bind_dn; add it"),
        (GOOD + 'ca_file = "nothing.pem"', "store.ca_file: cannot be used (No such file"),
        (GOOD + "[store.attributes]\nmails = []", "store.attributes.mails: is no key here"),
        (GOOD + '[store.attributes]\ndisabled = "a b"', "store.attributes.disabled:"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    assert any(problem in each for each in problems(tmp_path, lines)), problems(tmp_path, lines)


@pytest.mark.parametrize("more", ["", "starttls = true", 'scope = "one"', '[store.attributes]\nsenders = ["mail"]'])
def test_a_configuration_that_can_work_is_taken(tmp_path: Path, more: str) -> None:
    assert problems(tmp_path, GOOD + more) == []


def problems(folder: Path, lines: str) -> list[str]:
    make_pems(folder)
    path = folder / "gatepost.toml"
    path.write_text(
        'hostname = "mail.example.org"\nstate_dir = "state"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        f'[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n[[store]]\ntype = "ldap"\n{lines}\n'
    )
    try:
        return list(check(load(path, {})).problems)
    except Exception as error:
        return str(error).splitlines()
