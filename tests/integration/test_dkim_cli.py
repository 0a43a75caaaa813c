"""`gatepost dkim`: keys that are made, published, switched and forgotten, beside a running server and without one."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.message.dkim_key import make_key, record, write_key
from gatepost.state.signing_keys import change_keys, read_keys, write_keys
from integration.verbs import SECRET, make, run, run_json, send
from servers import Authority, Gatepost, wait_for
from signatures import verified


@pytest.fixture
def stopped(tmp_path: Path, authority: Authority) -> Gatepost:
    return make(tmp_path, authority)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Gatepost]:
    server = make(tmp_path_factory.mktemp("server"), authority)
    server.add_account("tim", "*@example.org", secret=SECRET)
    server.start()
    yield server
    server.stop()


def keys_folder(server: Gatepost) -> Path:
    return server.folder / "state" / "dkim"


def sent(server: Gatepost) -> bytes:
    """Send a message into the sandbox; return it as it came there."""
    name = send(server, "ann@box.example")
    folder = server.folder / "box"
    [path] = wait_for("the message", lambda: list(folder.rglob(f"*{name}*.eml")))
    return Path(path).read_bytes()


def known(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["name"].rstrip("."): "".join(row["strings"]) for row in rows}


def selectors(message: bytes) -> list[str]:
    return [part.partition(b";")[0].decode() for part in message.split(b"\ts=")[1:]]


def age(server: Gatepost, seconds: float) -> None:
    """Let all keys be so much older."""
    from dataclasses import replace

    state = server.folder / "state"
    with change_keys(state) as stored:
        for domain, keys in stored.items():
            older = [
                replace(each, signs_from=None if each.signs_from is None else each.signs_from - seconds)
                for each in keys
            ]
            write_keys(state, domain, older)


def test_a_domain_from_its_first_key_to_its_last(server: Gatepost) -> None:
    assert b"DKIM-Signature" not in sent(server)

    # Made, and taken up by both workers at once.
    code, text, trouble = run(server, "dkim", "add", "Example.ORG", "--json")
    assert code == 0, trouble
    first = json.loads(text)
    assert [(row["kind"], row["state"], row["type"]) for row in first] == [
        ("rsa", "signs", "TXT"),
        ("ed25519", "signs", "TXT"),
    ]
    assert "its record must be in the DNS" in trouble
    for _ in range(4):
        assert verified(sent(server), known(first)) == [True, True]
    assert run(server, "dkim", "add", "example.org")[0] == 1

    # New keys are published first, and sign nothing.
    code, text, trouble = run(server, "dkim", "rotate", "example.org", "--json")
    assert code == 0, trouble
    both = json.loads(text)
    assert [row["state"] for row in both] == ["signs", "signs", "waiting", "waiting"]
    assert "gatepost dkim rotate example.org --switch" in trouble
    old, new = [[row["selector"] for row in rows] for rows in (both[:2], both[2:])]
    assert selectors(sent(server)) == old
    code, _, trouble = run(server, "dkim", "rotate", "example.org")
    assert (code, "has new keys already" in trouble) == (1, True)

    # They sign once they are told to, and the old records stay.
    code, text, trouble = run(server, "dkim", "rotate", "example.org", "--switch", "--json")
    assert code == 0, trouble
    assert f"{old[0]}: leave its record in the DNS until " in trouble
    message = sent(server)
    assert selectors(message) == new
    assert verified(message, known(json.loads(text))) == [True, True]
    rows = run_json(server, "dkim", "list")
    assert [(row["selector"], row["state"]) for row in rows] == [
        *[(each, "retired") for each in old],
        *[(each, "signs") for each in new],
    ]
    assert set(known(run_json(server, "dkim", "dns", "example.org"))) == {
        f"{each}._domainkey.example.org" for each in old + new
    }

    # When no mail is under way that they signed, they are over, and the next rotation forgets them.
    age(server, 15 * 86400)
    assert [row["state"] for row in run_json(server, "dkim", "list")] == ["over", "over", "signs", "signs"]
    assert len(run_json(server, "dkim", "dns", "example.org")) == 2
    code, text, trouble = run(server, "dkim", "rotate", "example.org", "--after", "0m", "--json")
    assert code == 0, trouble
    assert [row["selector"] for row in run_json(server, "dkim", "list")][:2] == new
    assert selectors(sent(server)) == [row["selector"] for row in json.loads(text)][2:]

    # Forgotten.
    assert run(server, "dkim", "remove", "example.org")[0] == 0
    assert b"DKIM-Signature" not in sent(server)
    assert run_json(server, "dkim", "list") == []
    log = server.log.read_text() + server.trouble.read_text()
    assert "PRIVATE KEY" not in log


def test_keys_that_cannot_be_used_are_told_and_the_old_ones_go_on(server: Gatepost) -> None:
    assert run(server, "dkim", "add", "example.org", "--kind", "ed25519")[0] == 0
    path = keys_folder(server) / "example.org.json"
    octets = path.read_bytes()
    path.write_bytes(b"{")
    code, _, trouble = run(server, "dkim", "rotate", "example.org")
    assert (code, "is not as gatepost wrote it" in trouble) == (1, True)
    code, _, trouble = run(server, "reload")
    assert (code, "is not as gatepost wrote it" in trouble) == (1, True)
    assert len(selectors(sent(server))) == 1
    path.write_bytes(octets)
    assert run(server, "reload")[0] == 0
    assert run(server, "dkim", "remove", "example.org")[0] == 0


def test_keys_can_be_made_before_the_first_start(stopped: Gatepost) -> None:
    code, text, trouble = run(stopped, "dkim", "add", "example.org")
    assert code == 0, trouble
    assert stat.S_IMODE((keys_folder(stopped) / "example.org.json").stat().st_mode) == 0o600
    assert "PRIVATE" not in text + trouble
    lines = [line for line in text.splitlines() if not line.startswith(";")]
    assert lines[0].startswith("gp")
    assert '._domainkey.example.org. IN TXT ( "v=DKIM1; k=rsa; p=' in lines[0]
    assert all(len(part) <= 255 for part in text.split('"')[1::2])
    assert lines[-1].endswith('"')
    assert run(stopped, "dkim", "dns", "EXAMPLE.org")[1].splitlines() == text.splitlines()


def test_a_switch_can_be_planned(stopped: Gatepost) -> None:
    assert run(stopped, "dkim", "add", "example.org", "--kind", "ed25519")[0] == 0
    code, text, trouble = run(stopped, "dkim", "rotate", "example.org", "--after", "2d", "--json")
    assert (code, [row["state"] for row in json.loads(text)]) == (0, ["signs", "waiting"])
    assert "signs from 20" in trouble
    # It can be put off, and be brought forward.
    assert run(stopped, "dkim", "rotate", "example.org", "--after", "3d")[0] == 0
    [_, waiting] = read_keys(stopped.folder / "state")["example.org"]
    assert waiting.signs_from is not None
    assert 2.9 * 86400 < waiting.signs_from - time.time() < 3.1 * 86400
    age(stopped, 3 * 86400)
    assert [row["state"] for row in run_json(stopped, "dkim", "list")] == ["retired", "signs"]


def test_keys_of_ones_own_are_brought_along(stopped: Gatepost, tmp_path: Path) -> None:
    key = make_key("rsa")
    path = tmp_path / "default.private"
    path.write_bytes(write_key(key).reveal())
    words = ("dkim", "add", "example.org", "--key", str(path))
    assert run(stopped, *words)[0] == 2
    code, text, trouble = run(stopped, *words, "--selector", "default", "--json")
    assert code == 0, trouble
    assert known(json.loads(text)) == {"default._domainkey.example.org": record(key)}
    code, _, trouble = run(stopped, *words, "--selector", "DEFAULT")
    assert (code, "choose another" in trouble) == (1, True)
    path.write_text("no key")
    code, _, trouble = run(stopped, *words, "--selector", "other")
    assert (code, trouble) == (1, f"{path}: is no private key in PEM\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "not a domain"), 2, "is no domain"),
        (("add", "[192.0.2.1]"), 2, "no fully qualified domain"),
        (("add", "localhost"), 2, "no fully qualified domain"),
        (("add", "example.org", "--selector", "a"), 2, "--selector needs --kind"),
        (("add", "example.org", "--selector", "a;b", "--kind", "rsa"), 2, "letters, digits and hyphens"),
        (("rotate", "example.org"), 1, "gatepost dkim add example.org"),
        (("rotate", "example.org", "--switch", "--after", "1d"), 2, "choose one"),
        (("dns", "example.org"), 1, "gatepost dkim add example.org"),
        (("remove", "example.org"), 1, "gatepost dkim add example.org"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(
    stopped: Gatepost, words: tuple[str, ...], code: int, said: str
) -> None:
    (stopped.folder / "state").mkdir(exist_ok=True)
    found, _, trouble = run(stopped, "dkim", *words)
    assert (found, said in trouble) == (code, True), trouble
    assert read_keys(stopped.folder / "state") == {}


def test_nothing_but_new_keys_can_be_switched_to_and_the_last_key_is_not_lost_by_a_slip(stopped: Gatepost) -> None:
    assert run(stopped, "dkim", "add", "example.org", "--kind", "ed25519", "--selector", "one")[0] == 0
    code, _, trouble = run(stopped, "dkim", "rotate", "example.org", "--switch")
    assert (code, "no new keys to switch to" in trouble) == (1, True)
    for selector, said in (("two", "has no key two; it has one"), ("ONE", "is its last key")):
        code, _, trouble = run(stopped, "dkim", "remove", "example.org", selector)
        assert (code, said in trouble) == (1, True)
    assert run(stopped, "dkim", "add", "example.org", "--kind", "rsa")[0] == 0
    assert run(stopped, "dkim", "remove", "example.org", "ONE")[0] == 0
    assert [row["kind"] for row in run_json(stopped, "dkim", "list")] == ["rsa"]


def test_domains_that_must_be_signed_are_not_started_without_a_key(tmp_path: Path, authority: Authority) -> None:
    server = make(tmp_path, authority)
    with server.config.open("a") as file:
        file.write('\n[dkim]\ndomains = ["example.org", "example.net"]\n')
    assert run(server, "dkim", "add", "example.org", "--kind", "ed25519")[0] == 0
    code, _, trouble = run(server, "check")
    assert (code, 'dkim.domains: "example.net" has no key; run: gatepost dkim add example.net' in trouble) == (1, True)
    code, _, trouble = run(server, "dkim", "remove", "example.org")
    assert (code, "take it out there first" in trouble) == (1, True)
    assert run(server, "dkim", "add", "example.net", "--kind", "ed25519")[0] == 0
    assert run(server, "check")[0] == 0
    code, _, trouble = run(server, "dkim", "add", "example.com", "--kind", "ed25519")
    assert (code, "does not stand in dkim.domains" in trouble) == (0, True)
    code, text, trouble = run(server, "check")
    assert (code, 'lacks "example.com"' in text + trouble) == (0, True)


def test_keys_are_in_the_backup(stopped: Gatepost, tmp_path: Path) -> None:
    import tarfile

    stopped.add_account("tim", "*@example.org", secret=SECRET)
    assert run(stopped, "dkim", "add", "example.org")[0] == 0
    code, _, trouble = run(stopped, "backup", str(tmp_path / "backup.tar"))
    assert code == 0, trouble
    with tarfile.open(tmp_path / "backup.tar") as tar:
        member = tar.extractfile("dkim/example.org.json")
        assert member is not None
        assert member.read() == (keys_folder(stopped) / "example.org.json").read_bytes()


def test_records_that_would_go_while_mail_waits_are_told(tmp_path: Path, authority: Authority) -> None:
    server = make(tmp_path, authority)
    assert run(server, "dkim", "add", "example.org", "--kind", "ed25519")[0] == 0
    text = server.config.read_text()
    for table, is_told in (('keep_records = "5d"', False), ('keep_records = "4d"', True)):
        server.config.write_text(f"{text}\n[dkim]\n{table}\n")
        _, shown, trouble = run(server, "check")
        assert ("is below the longest give_up_after" in shown + trouble) is is_told
    rule = '[[queue.rule]]\naccounts = ["tim"]\ngive_up_after = "20d"\n'
    server.config.write_text(f"{text}\n{rule}")
    _, shown, trouble = run(server, "check")
    assert "is below the longest give_up_after" in shown + trouble
