"""Memory of the server's process does not grow with the messages that go through it."""

from __future__ import annotations

import smtplib
import threading
from pathlib import Path

from servers import Authority, Gatepost, wait_for

BIG = 10 * 1024 * 1024
AT_ONCE = 8
PEAK_LIMIT_KIB = 100 * 1024


def peak_kib(server: Gatepost) -> int:
    """Return the largest resident set that its worker ever had."""
    assert server.process is not None
    parent = server.process.pid
    [process_id] = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def test_eight_messages_of_10_mib_at_once_stay_under_100_mib(tmp_path: Path, authority: Authority):
    sandbox = tmp_path / "sandbox"
    server = Gatepost(
        tmp_path / "server",
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{sandbox}"\n',
    )
    secret = server.add_account("tim@example.org")
    body = b"From: <tim@example.org>\r\nSubject: big\r\n\r\n" + (b"x" * 76 + b"\r\n") * (BIG // 78)
    barrier = threading.Barrier(AT_ONCE)
    troubles: list[BaseException] = []

    def send() -> None:
        try:
            with smtplib.SMTP_SSL(
                "localhost", server.implicit_port, context=authority.client_context(), timeout=120
            ) as client:
                client.login("tim@example.org", secret)
                client.ehlo_or_helo_if_needed()
                client.mail("tim@example.org", [f"size={len(body)}"])
                client.rcpt("bob@example.net")
                barrier.wait(120)
                assert client.data(body)[0] == 250
        except BaseException as error:
            barrier.abort()
            troubles.append(error)

    with server:
        threads = [threading.Thread(target=send) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not troubles, troubles
        wait_for("delivery", lambda: len(list(sandbox.glob("*.eml"))) == AT_ONCE)
        assert peak_kib(server) < PEAK_LIMIT_KIB
