"""A worker that lacks a part is replaced: it would take mail and not hand it on."""

from __future__ import annotations

import os
import smtplib
from pathlib import Path

from servers import Authority, Gatepost, wait_for

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"
# Whoever looks after tokens fails in each worker that finds the file.
SLIP = """\
import os
from pathlib import Path

def slip():
    from gatepost.relay.token_sources import TokenSources
    run = TokenSources.run

    async def fail(self):
        import asyncio
        while not Path({trigger!r}).exists():
            await asyncio.sleep(0.01)
        Path({trigger!r}).unlink()
        raise RuntimeError("a slip of ours")

    TokenSources.run = fail

os.register_at_fork(after_in_child=slip)
"""


def test_a_worker_that_lacks_a_part_ends_in_good_order_and_another_takes_its_place(
    tmp_path: Path, authority: Authority
) -> None:
    trigger, kept = tmp_path / "trigger", tmp_path / "kept"
    (tmp_path / "sitecustomize.py").write_text(SLIP.format(trigger=str(trigger)), encoding="utf-8")
    server = Gatepost(
        tmp_path / "server",
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{kept}"\n',
        environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    secret = server.add_account(LOGIN)
    with server, smtplib.SMTP("localhost", server.starttls_port, timeout=60) as client:
        client.starttls(context=authority.client_context())
        client.login(LOGIN, secret)
        client.mail(LOGIN)
        client.rcpt("bob@example.net")
        assert client.docmd("DATA")[0] == 354
        trigger.touch()
        wait_for("the slip", lambda: [line for line in server.lines() if line["level"] == "critical"])
        # What is on its way comes to its end.
        client.sock.sendall(MESSAGE + b".\r\n")
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 421
        wait_for("another worker", lambda: sum(line["event"] == "worker started" for line in server.lines()) == 2)
        [lost] = [line for line in server.lines() if line["event"] == "worker lost"]
        assert lost["reason"] == "tokens ended by RuntimeError; the log says where"
        [stopped] = [line for line in server.lines() if line["event"] == "worker stopped"]
        assert stopped["reason"] == lost["reason"]
        wait_for("delivery", lambda: len(list(kept.glob("*.json"))) == 1)
        with smtplib.SMTP("localhost", server.starttls_port, timeout=60) as again:
            again.starttls(context=authority.client_context())
            again.login(LOGIN, secret)
            assert again.sendmail(LOGIN, ["bob@example.net"], MESSAGE) == {}
        wait_for("delivery", lambda: len(list(kept.glob("*.json"))) == 2)
    assert "a slip of ours" in server.log.read_text()
