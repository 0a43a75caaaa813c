"""What parent and worker tell each other."""

from __future__ import annotations

import pytest

from gatepost.channel import Channel, pack_pair, pack_trust, unpack_pair, unpack_trust
from gatepost.listener.client_trust import ClientTrust
from gatepost.listener.tls import KeyPair


def test_messages_come_whole_and_in_order() -> None:
    here, there = Channel.pair()
    assert there.receive() == []
    here.send(ready=True)
    here.send(text="two\nlines", number=3)
    assert there.receive() == [{"ready": True}, {"text": "two\nlines", "number": 3}]
    assert there.receive() == []
    assert not there.is_closed
    here.close()
    there.close()


def test_half_a_message_waits_for_its_rest() -> None:
    here, there = Channel.pair()
    here._socket.sendall(b'{"rea')
    assert there.receive() == []
    here._socket.sendall(b'dy": true}\n{"x"')
    assert there.receive() == [{"ready": True}]
    here.close()
    assert there.receive() == []
    assert there.is_closed
    there.close()


def test_what_was_said_before_the_end_is_heard() -> None:
    here, there = Channel.pair()
    here.send(failed="no spool")
    here.close()
    assert there.receive() == [{"failed": "no spool"}]
    assert there.is_closed
    assert there.send(generation=1) is False
    there.close()


def test_who_does_not_listen_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.channel._PATIENCE", 0.05)
    here, there = Channel.pair()
    assert here.send(config="x" * 10_000_000) is False
    here.close()
    there.close()


def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.channel._LINE_LIMIT", 1000)
    here, there = Channel.pair()
    here._socket.sendall(b"x" * 2000)
    assert there.receive() == []
    assert there.is_closed
    here.close()
    there.close()


@pytest.mark.parametrize("key", [None, b"\x00\xffkey\n"])
def test_a_key_pair_arrives_as_it_was(key: bytes | None) -> None:
    pair = KeyPair("cert.pem", b"certificate\n", key)
    here, there = Channel.pair()
    here.send(pair=pack_pair(pair))
    [message] = there.receive()
    assert unpack_pair(message["pair"]) == pair
    assert "key\\n" not in repr(pair)
    here.close()
    there.close()


@pytest.mark.parametrize("revoked", [None, b"\xff\x00"])
def test_trust_in_clients_arrives_as_it_was_sent(revoked: bytes | None) -> None:
    here, there = Channel.pair()
    trust = ClientTrust("clients.pem", b"\x00authorities\n", revoked)
    here.send(trusts={"devices": pack_trust(trust)})
    (message,) = there.receive()
    assert unpack_trust(message["trusts"]["devices"]) == trust
    here.close()
    there.close()
