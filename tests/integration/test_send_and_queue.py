"""`gatepost send`, `queue` and `check` beside a running server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from gatepost.cli.main import gatepost
from servers import Authority, Gatepost, free_ports, wait_for

SECRET = "one long secret, chosen by nobody"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Gatepost]:
    (nobody,) = free_ports(1)
    server = Gatepost(
        tmp_path_factory.mktemp("server"),
        authority,
        f'[[route]]\nname = "away"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {nobody}\ntls = "none"\n',
        auth='mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]',
    )
    server.add_account("tim", "*@example.org", secret=SECRET)
    server.start()
    yield server
    server.stop()


def run(server: Gatepost, *words: str, secret: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(gatepost, [*words, "--config", str(server.config)], input=secret)
    return result.exit_code, result.stdout, result.stderr


def send(server: Gatepost, *words: str, secret: str = SECRET) -> tuple[int, str, str]:
    addresses = ("--login", "tim", "--from", "tim@example.org", "--to", "ann@example.net")
    return run(server, "send", *addresses, "--secret-stdin", *words, secret=f"{secret}\n")


def test_a_message_is_sent_with_each_mechanism_and_listed(server: Gatepost) -> None:
    code, text, trouble = send(server, "--json")
    assert (code, trouble) == (0, "")
    steps = json.loads(text)
    assert all(step["ok"] for step in steps)
    assert [step["mechanism"] for step in steps if step["step"] == "data"] == [
        *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
    ]
    ids = [step["reply"].split()[-1] for step in steps if step["step"] == "data"]

    listed = json.loads(run(server, "queue", "list", "--json", "--to-domain", "EXAMPLE.NET")[1])
    assert set(ids) <= {each["id"] for each in listed}
    code, text, _ = run(server, "queue", "show", ids[0], "--json")
    shown = json.loads(text)
    assert (code, shown["sender"], shown["account"]) == (0, "tim@example.org", "tim")
    assert [each["recipient"] for each in shown["recipients"]] == ["ann@example.net"]
    assert [each["status"] for each in shown["recipients"]] == ["pending"]


def test_the_queue_is_filtered_and_cut(server: Gatepost) -> None:
    assert send(server, "--mechanism", "PLAIN")[0] == 0
    assert send(server, "--mechanism", "PLAIN")[0] == 0
    assert json.loads(run(server, "queue", "list", "--json", "--to-domain", "example.com")[1]) == []
    assert json.loads(run(server, "queue", "list", "--json", "--from", "ann@example.org")[1]) == []
    assert json.loads(run(server, "queue", "list", "--json", "--from", "<>")[1]) == []
    assert len(json.loads(run(server, "queue", "list", "--json", "--from", "@example.org")[1])) >= 2
    code, text, trouble = run(server, "queue", "list", "--limit", "1")
    assert (code, len(text.splitlines())) == (0, 2)
    assert "more than these 1" in trouble


def test_a_message_is_shown_with_its_header_or_raw(server: Gatepost) -> None:
    _, text, _ = send(server, "--mechanism", "PLAIN", "--json")
    (name,) = [step["reply"].split()[-1] for step in json.loads(text) if step["step"] == "data"]
    code, text, _ = run(server, "queue", "show", name)
    assert code == 0
    assert "\nSubject: " in text
    assert "\\t" not in text, "folded lines are shown as they are"
    assert "normal" in text
    shown = json.loads(run(server, "queue", "show", name, "--json")[1])
    assert shown["header"].startswith("Received: ")
    assert (shown["priority"], shown["route"]) == ("normal", None)
    result = CliRunner().invoke(gatepost, ["queue", "show", name, "--raw", "--config", str(server.config)])
    assert result.stdout_bytes.decode().startswith(shown["header"])
    assert len(result.stdout_bytes) == shown["size"]
    code, text, trouble = run(server, "queue", "show", "nothing", "--raw")
    assert (code, text) == (1, "")
    assert "is not in the queue" in trouble


def test_messages_are_chosen_by_recipient_route_state_and_age(server: Gatepost) -> None:
    _, text, _ = send(server, "--mechanism", "PLAIN", "--json")
    (name,) = [step["reply"].split()[-1] for step in json.loads(text) if step["step"] == "data"]

    def listed(*words: str) -> list[str]:
        code, text, trouble = run(server, "queue", "list", "--json", "--limit", "1000", *words)
        assert (code, trouble) == (0, "")
        return [each["id"] for each in json.loads(text)]

    assert name in listed("--recipient", "ann@example.net", "--route", "away", "--newer-than", "1h")
    assert listed("--recipient", "bob@example.net") == listed("--older-than", "1h") == listed("--state", "held") == []
    assert run(server, "queue", "hold", name)[0] == 0
    assert listed("--state", "held") == [name]
    assert run(server, "queue", "release", "--state", "held")[0] == 0
    code, _, trouble = run(server, "queue", "list", "--route", "nowhere")
    assert code == 1
    assert "nowhere is no route; these are: away" in trouble
    assert run(server, "queue", "list", "--older-than", "soon")[0] == 2


def test_a_message_is_redirected(server: Gatepost) -> None:
    _, text, _ = send(server, "--mechanism", "PLAIN", "--json")
    (name,) = [step["reply"].split()[-1] for step in json.loads(text) if step["step"] == "data"]
    assert run(server, "queue", "hold", name)[0] == 0

    code, text, trouble = run(server, "queue", "redirect", name, "--to", "eve@example.com", "--to-route", "away", "-n")
    assert (code, text) == (0, f"{name}\n")
    assert "would be redirected: 1" in trouble
    assert json.loads(run(server, "queue", "show", name, "--json")[1])["route"] is None
    words = ("queue", "redirect", name, "--to", "eve@example.com", "--to-route", "away")
    wait_for("the attempt under way to be over", lambda: run(server, *words)[0] == 0)
    shown = json.loads(run(server, "queue", "show", name, "--json")[1])
    assert [each["recipient"] for each in shown["recipients"]] == ["eve@example.com"]
    assert (shown["route"], shown["held"]) == ("away", True)

    for words, told in (
        ((), "--to ADDRESS"),
        (("--to", "nobody"), "--to"),
        (("--to-route", "nowhere"), "nowhere is no route; these are: away"),
        (("--to", "a@b.example", "--recipient", "@example.com"), "write name@domain"),
    ):
        code, text, trouble = run(server, "queue", "redirect", name, *words)
        assert (code, text) == (2, "")
        assert told in trouble
    code, _, trouble = run(server, "queue", "redirect", name, "--to", "a@b.example", "--recipient", "ann@example.net")
    assert code == 1
    assert run(server, "queue", "drop", "--silent", name)[0] == 0


def test_what_is_not_in_the_queue_is_told(server: Gatepost) -> None:
    code, text, trouble = run(server, "queue", "show", "nothing")
    assert (code, text) == (1, "")
    assert "is not in the queue" in trouble
    code, _, trouble = run(server, "queue", "list", "--from", "@@")
    assert code == 2
    assert "--from" in trouble


def test_implicit_tls_and_one_mechanism(server: Gatepost) -> None:
    code, text, _ = send(server, "--listener", "submissions", "--mechanism", "login")
    assert code == 0
    assert [line.split()[:3] for line in text.splitlines()] == [
        ["-", "connect", "ok"],
        ["-", "tls", "ok"],
        ["-", "offer", "ok"],
        ["LOGIN", "auth", "ok"],
        ["LOGIN", "mail", "ok"],
        ["LOGIN", "rcpt", "ok"],
        ["LOGIN", "data", "ok"],
    ]


def test_a_wrong_secret_ends_at_its_step_and_shows_nowhere(server: Gatepost) -> None:
    code, text, trouble = send(server, "--mechanism", "SCRAM-SHA-256", "--json", secret="marked-secret-7531")
    assert code == 1
    last = json.loads(text)[-1]
    assert (last["step"], last["ok"]) == ("auth", False)
    assert last["reply"].startswith("535 5.7.8 ")
    for shown in (text, trouble, server.log.read_text(), server.trouble.read_text()):
        assert "marked-secret-7531" not in shown


def test_a_sender_that_is_not_ones_own_is_refused(server: Gatepost) -> None:
    words = ("send", "--login", "tim", "--from", "eve@example.com", "--to", "ann@example.net", "--secret-stdin")
    code, text, _ = run(server, *words, "--mechanism", "PLAIN", secret=f"{SECRET}\n")
    assert code == 1
    assert text.splitlines()[-1].split()[:5] == ["PLAIN", "mail", "NO", "550", "5.7.1"]


def test_the_listener_for_everybody_and_the_certificate_for_our_name_are_used(
    tmp_path: Path, authority: Authority
) -> None:
    chain = tmp_path / "named.pem"
    trustme.CA().issue_cert("gatepost.example.org").private_key_and_cert_chain_pem.write_to_path(str(chain))
    chain.chmod(0o600)
    routes = f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{tmp_path / "mail"}"\n'
    server = Gatepost(tmp_path / "server", authority, routes, tables=f'[[tls.pairs]]\ncertificate = "{chain}"\n')
    first = 'name = "submission"\n'
    written = server.config.read_text()
    server.config.write_text(written.replace(first, f'{first}proxy_networks = ["127.0.0.0/8"]\n'))
    server.add_account("tim", "*@example.org", secret=SECRET)
    server.start()
    try:
        code, text, trouble = send(server, "--mechanism", "PLAIN", "--json")
        assert (code, trouble) == (0, "")
        assert all(step["ok"] for step in json.loads(text))
        code, _, trouble = send(server, "--mechanism", "PLAIN", "--listener", "submission")
        assert code == 1  # it waits for a header
    finally:
        server.stop()


def test_wrong_use_is_told(server: Gatepost) -> None:
    assert send(server, "--mechanism", "DIGEST-MD5")[0] == 2
    assert send(server, "--listener", "nowhere")[0] == 2
    assert send(server, secret="")[0] == 2
    assert run(server, "send", "--login", "tim", "--to", "ann@example.net", "--secret-stdin")[0] == 2
    assert run(server, "send", "--login", "tim@example.org", "--to", "a@b\r\nDATA", "--secret-stdin")[0] == 2


def test_nobody_there_is_told(server: Gatepost) -> None:
    (port,) = free_ports(1)
    code, text, _ = send(server, "--port", str(port))
    assert code == 1
    assert "Connection refused" in text


def test_another_certificate_gets_no_secret(server: Gatepost, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    impostor = Gatepost(tmp_path / "impostor", other, server.routes, auth=server.auth)
    impostor.start()
    try:
        code, text, _ = send(server, "--port", str(impostor.implicit_port), "--listener", "submissions")
    finally:
        impostor.stop()
    assert code == 1
    assert "certificate refused" in text
    assert "login" not in impostor.log.read_text()


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad\r\n", "does not speak SMTP"),
        (b"421 4.3.2 busy\r\n", "421 4.3.2 busy"),
        (b"220-a\r\n" * 2000, "does not end its reply"),
        (b"220 \x1b[31mred\r\n", "closed the connection"),
    ],
)
def test_a_server_that_is_none_is_told(server: Gatepost, said: bytes, heard: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        code, text, _ = send(server, "--port", str(listening.getsockname()[1]))
        thread.join(60)
    assert code == 1
    assert heard in text
    assert "\x1b" not in text


def test_check_names_the_credential_that_withdraws_a_mechanism(server: Gatepost) -> None:
    assert run(server, "check")[2].count("is not offered on") == 0
    run(server, "credential", "add", "tim", "--mechanism", "PLAIN", "--listener", "submission", "--force")
    _, _, trouble = run(server, "check")
    lines = [line for line in trouble.splitlines() if "is not offered on submission:" in line]
    assert any(
        f"{server.config}:" in line and "auth.mechanisms: CRAM-MD5" in line and "tim (" in line for line in lines
    )


def test_no_server_ever_ran(tmp_path: Path, authority: Authority) -> None:
    fresh = Gatepost(tmp_path, authority, '[[route]]\nname = "x"\ntransport = "sandbox"\npath = "sandbox"\n')
    code, text, trouble = run(fresh, "queue", "list", "--json")
    assert (code, json.loads(text)) == (0, [])
    assert "no server has run" in trouble
    assert run(fresh, "queue", "show", "x")[0] == 1
