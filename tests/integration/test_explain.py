"""``gatepost explain``, without a server: the way of a message, why not another, and whether it may be sent."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatepost.app import RealClock
from gatepost.cli.main import gatepost
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.spool.sqlite import SqliteSpool
from gatepost.state.paused_routes import note_paused
from gatepost.testing import make_accounts

ROUTES = """
[[route]]
name = "bulk"
transport = "smarthost"
host = "bulk.example.net"
login = "we"
password = "a secret that nobody must see"
match = { headers = [{ name = "X-Stream", values = ["bulk*"] }] }

[[route]]
name = "large"
transport = "sandbox"
path = "large"
match = { size_over = "1MiB", accounts = ["tim@example.org"] }

[[route]]
name = "there"
transport = "smarthost"
hosts = ["a.example.net", "b.example.net:2525"]
match = { recipient_domains = ["*.example.net"] }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    make_accounts(tmp_path / "state", {"tim@example.org": "secret-pass-1"})
    path = tmp_path / "gatepost.toml"
    path.write_text(f'hostname = "mail.example.org"\nstate_dir = "state"\n{ROUTES}')
    return path


def run(config: Path, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(gatepost, ["explain", *words, "--config", str(config)])
    return result.exit_code, result.stdout, result.stderr


def told(config: Path, *words: str, login: str = "tim@example.org") -> tuple[int, Any]:
    code, text, trouble = run(config, "--login", login, *words, "--json")
    assert text, trouble
    return code, json.loads(text)


def test_the_way_is_shown_and_why_it_is_no_other(config: Path) -> None:
    code, found = told(config, "--rcpt", "ann@x.example.net")
    assert code == 0
    assert found["account"] == "tim@example.org"
    assert [each["ok"] for each in found["checks"]] == [True] * 4
    [row] = found["recipients"]
    assert row["route"] == "there"
    assert row["next_hops"] == ["a.example.net:587", "b.example.net:2525"]
    assert row["passed_over"] == [
        {"route": "bulk", "why": "headers: there is no x-stream"},
        {"route": "large", "why": "size_over: 0 octets are not more than 1048576"},
    ]


def test_header_and_size_are_taken_into_account(config: Path) -> None:
    _, found = told(config, "--rcpt", "ann@x.example.net", "--header", "X-Stream: BULK-7")
    assert found["recipients"][0]["route"] == "bulk"
    assert found["recipients"][0]["login"] == "we"
    _, found = told(config, "--rcpt", "ann@x.example.net", "--header", "X-Stream: other", "--size", "2000000")
    assert found["recipients"][0]["route"] == "large"
    assert found["recipients"][0]["passed_over"][0]["why"] == "headers: x-stream is 'other'"


def test_no_secret_is_shown(config: Path) -> None:
    for flags in (["--json"], []):
        _, text, trouble = run(
            config, "--login", "tim@example.org", "--rcpt", "a@b.example", "--header", "X-Stream: bulk", *flags
        )
        assert "bulk.example.net" in text
        assert "nobody must see" not in text + trouble


def test_a_route_that_has_no_access_token_says_so(config: Path) -> None:
    with config.open("a") as file:
        file.write("""
[[route]]
name = "m365"
transport = "smarthost"
provider = "microsoft365"
login = "shop@example.org"
match = { recipient_domains = ["example.com"] }
[route.oauth]
provider = "microsoft"
tenant = "example.onmicrosoft.com"
client_id = "client-1"
""")
    code, shown = told(config, "--rcpt", "ann@example.com")
    assert code == 0
    assert shown["recipients"][0]["route"] == "m365"
    assert shown["recipients"][0]["token"].endswith("run: gatepost oauth login m365")
    assert "token" not in told(config, "--rcpt", "ann@mx.example.net")[1]["recipients"][0]


def test_a_recipient_without_a_route_is_told(config: Path) -> None:
    code, found = told(config, "--rcpt", "ann@example.com", "--rcpt", "ann@x.example.net")
    assert code == 1
    assert [each["route"] for each in found["recipients"]] == [None, "there"]
    assert "no route takes it" in found["recipients"][0]["remark"]
    assert [each["route"] for each in found["recipients"][0]["passed_over"]] == ["bulk", "large", "there"]
    assert found["recipients"][0]["passed_over"][2]["why"] == "recipient_domains: example.com is not among them"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--rcpt", "ann@x.example.net"], 0),
        (["--rcpt", "ann@example.com"], 1),
        (["--rcpt", "ann@x.example.net", "--from", "else@example.org"], 1),
        # Octets of the command line that are no UTF-8.
        (["--rcpt", "ann@x.example.net", "--header", "X-Stream: \udcff"], 0),
    ],
)
def test_people_get_the_same_end_as_programs(config: Path, words: list[str], code: int) -> None:
    for flags in (["--json"], []):
        found, text, trouble = run(config, "--login", "tim@example.org", *words, *flags)
        assert (found, trouble.partition("Traceback")[1]) == (code, "")
        assert "tim@example.org" in text


def test_what_the_policies_refuse_is_told_with_the_reply(config: Path) -> None:
    code, found = told(config, "--from", "else@example.org", "--rcpt", "ann@x.example.net")
    assert code == 1
    [mail] = [each for each in found["checks"] if each["step"] == "MAIL"]
    assert not mail["ok"]
    assert mail["reply"].startswith("550 5.7.1")
    assert "may not send as else@example.org" in mail["reason"]
    code, found = told(config, "--rcpt", "ann@x.example.net", "--header-from", "Boss <boss@example.org>")
    assert [(each["step"], each["ok"]) for each in found["checks"]][-1] == ("header", False)
    assert code == 1
    code, found = told(config, "--rcpt", "ann@x.example.net", "--size", "99999999")
    assert next(each["reply"] for each in found["checks"] if each["step"] == "MAIL").startswith("552")
    code, found = told(config, "--rcpt", "ann@x.example.net", "--header", "From: second@example.org")
    assert found["checks"][-1]["reply"].startswith("554 5.6.0")


def test_who_may_not_log_in_from_there_is_told(config: Path) -> None:
    for words in (
        ["credential", "add", "tim@example.org", "--label", "printer", "--network", "192.0.2.0/24"],
        ["credential", "add", "tim@example.org", "--label", "dry", "--sandbox"],
    ):
        assert CliRunner().invoke(gatepost, [*words, "--config", str(config)]).exit_code == 0
    _, found = told(config, "--rcpt", "a@x.example.net", "--credential", "printer", "--ip", "192.0.2.7")
    assert found["checks"][0]["ok"]
    code, found = told(config, "--rcpt", "a@x.example.net", "--credential", "printer", "--ip", "198.51.100.1")
    assert code == 1
    assert found["checks"][0]["reason"] == "credential not for network of 198.51.100.1"
    _, found = told(config, "--rcpt", "a@x.example.net", "--credential", "dry")
    [row] = found["recipients"]
    assert row["route"] == "large"
    assert {"route": "bulk", "why": "is no sandbox"} in row["passed_over"]


def test_a_message_in_the_queue_is_explained_by_its_own_header(config: Path) -> None:
    header = b"From: tim@example.org\r\nX-Stream: bulk\r\n\r\n"

    async def keep() -> str:
        spool = SqliteSpool(config.parent / "state" / "spool" / "0", clock=RealClock(), reserve_bytes=0)
        incoming = spool.begin()
        incoming.write(b"body\r\n")
        recipient = Recipient(parse_mailbox("ann@x.example.net"))
        envelope = Envelope(parse_mailbox("tim@example.org"), (recipient,), account="tim", header_bytes=len(header))
        receipt = await incoming.commit(envelope, header)
        await spool.close()
        return receipt.id

    name = asyncio.run(keep())
    note_paused(config.parent / "state", "bulk", time.time())
    code, text, trouble = run(config, name, "--json")
    assert code == 0, trouble
    found = json.loads(text)
    assert found["id"] == name
    [row] = found["recipients"]
    assert (row["route"], row["status"], row["paused_by_hand"]) == ("bulk", "pending", True)
    assert run(config, "cr6f3vxjpmzewjyd")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["someid", "--login", "tim@example.org"],
        ["--login", "tim@example.org"],
        ["--login", "tim@example.org", "--rcpt", "no address"],
        ["--login", "tim@example.org", "--rcpt", "a@b.example", "--ip", "here"],
        ["--login", "tim@example.org", "--rcpt", "a@b.example", "--header", "no field"],
        ["--login", "tim@example.org", "--rcpt", "a@b.example", "--header", "A: b\r\nFrom: c"],
        ["--login", "tim@example.org", "--rcpt", "a@b.example", "--header-from", "a@b.example\r\nB: c"],
        ["--login", "tim@example.org", "--rcpt", "a@b.example", "--listener", "nowhere"],
        ["someid", "--rcpt", "a@b.example"],
    ],
)
def test_wrong_use_is_told(config: Path, words: list[str]) -> None:
    code, text, trouble = run(config, *words)
    assert (code, text) == (2, "")
    assert "Error" in trouble


def test_an_unknown_login_is_told(config: Path) -> None:
    code, text, trouble = run(config, "--login", "tom", "--from", "tom@example.org", "--rcpt", "a@b.example")
    assert (code, text) == (1, "")
    assert "no store knows this login" in trouble


def test_nothing_is_written(config: Path) -> None:
    state = config.parent / "state"
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*") if "accounts.db-" not in path.name}
    told(config, "--rcpt", "ann@x.example.net")
    after = {path: path.stat().st_mtime_ns for path in state.rglob("*") if "accounts.db-" not in path.name}
    assert before.keys() == after.keys()
    assert {path for path in before if path.is_file() and before[path] != after[path]} == set()
