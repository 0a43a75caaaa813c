"""Somebody between client and server changes octets.

Invariant: an exchange ends in `Granted`, `Denied` or `Malformed`, never in anything else; and a changed exchange ends
well for both sides only if what came says the same as what was sent (letter case, what SASLprep takes away).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.identity import Identity, Secret
from gatepost.sasl import client
from gatepost.sasl.prepare import prepare_name, prepare_password
from gatepost.sasl.registry import MECHANISMS
from gatepost.sasl.steps import Denied, Granted
from gatepost.sasl.wire import decode_base64, encode_base64

NAME, PASSWORD, TOKEN = "tim the,=enchanter", "tanstaaf", "ya29.token"
CHANNEL = bytes(range(32))
CREDENTIALS = client.Credentials(
    NAME, Secret(PASSWORD.encode()), Secret(TOKEN.encode()), binding=("tls-exporter", CHANNEL), has_certificate=True
)

# Stores keep nothing between examples but what they were told before the first.
several_examples = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Change:
    """One change to one message, counted over both directions."""

    message: int
    kind: str
    place: int
    octets: bytes

    def apply(self, data: bytes) -> bytes:
        place = self.place % (len(data) + 1)
        match self.kind:
            case "replace":
                return data[:place] + self.octets + data[place + len(self.octets) :]
            case "insert":
                return data[:place] + self.octets + data[place:]
            case "delete":
                return data[:place] + data[place + len(self.octets) :]
            case "flip" if data:
                place %= len(data)
                return data[:place] + bytes([data[place] ^ (1 << self.octets[0] % 8)]) + data[place + 1 :]
            case "cut":
                return data[:place]
            case _:
                return self.octets


CHANGES = st.builds(
    Change,
    st.integers(0, 4),
    st.sampled_from(["replace", "insert", "delete", "flip", "cut", "all"]),
    st.integers(0, 200),
    # Up to three octets: four are enough to add an extension after the server's proof, which means nothing.
    st.binary(min_size=1, max_size=3) | st.sampled_from([b"=", b",", b"\0", b"\x01", b" ", b"n", b"a=b", b"\xc2\xad"]),
)


# The same to the base64 of a message, as it stands on its line.
LINE_CHANGES = st.builds(
    Change,
    st.integers(0, 4),
    st.sampled_from(["replace", "insert", "delete", "flip", "cut", "all"]),
    st.integers(0, 200),
    st.text("ABCDIQYZabcilqz0189+/=", min_size=1, max_size=4).map(str.encode)
    | st.sampled_from([b"====", b"\r", b" ", b"-_", b"\xff"]),
)


class Wire:
    """Carries messages, and changes one of them; remembers what the server then got."""

    def __init__(self, login: client.Login, change: Change | None) -> None:
        self._login = login
        self._change = change
        self._count = 0
        self.has_changed = False
        self.sent: list[bytes] = []
        self.came: list[bytes] = []

    def carry(self, data: bytes) -> bytes:
        number, self._count = self._count, self._count + 1
        if self._change is None or self._change.message != number:
            return data
        changed = self._change.apply(data)
        self.has_changed = changed != data
        return changed

    def initial(self) -> bytes | None:
        if self._login.initial is None:
            return None
        return self._arrive(self._login.initial)

    def respond(self, challenge: bytes) -> bytes:
        return self._arrive(self._login.respond(self.carry(challenge)))

    def _arrive(self, response: bytes) -> bytes:
        self.sent.append(response)
        self.came.append(self.carry(response))
        return self.came[-1]


class Lines(Wire):
    """Carries messages in base64, and changes one of the lines."""

    def carry(self, data: bytes) -> bytes:
        return decode_base64(super().carry(encode_base64(data)))


def same_password(octets: bytes) -> bool:
    return prepare_password(octets.decode()) == PASSWORD.encode()


def same_name(octets: bytes) -> bool:
    return prepare_name(octets.decode()) == prepare_name(NAME)


def is_whoever_the_certificate_says(octets: bytes) -> bool:
    return not octets or same_name(octets)


def says_the_same(name: str, wire: Wire, outcome: Granted) -> bool:
    """Tell whether the server got what the client meant, read apart from our parsers."""
    came = wire.came
    match name:
        case "PLAIN":
            authzid, authcid, password = came[0].split(b"\0")
            acting_as = prepare_name(authzid.decode()) if authzid else ""
            return same_name(authcid) and same_password(password) and acting_as == outcome.authzid
        case "LOGIN":
            return same_name(came[0]) and same_password(came[1])
        case "EXTERNAL":
            return is_whoever_the_certificate_says(came[0]) and outcome.authzid in ("", prepare_name(NAME))
        case "CRAM-MD5":
            return same_name(came[0][:-33]) and came[0][-33:].lower() == wire.sent[0][-33:]
        case "XOAUTH2":
            fields = dict(field.split(b"=", 1) for field in came[0].removesuffix(b"\x01\x01").split(b"\x01"))
            bearer, token = fields[b"auth"].split()
            return same_name(fields[b"user"]) and bearer.lower() == b"bearer" and token.decode() == TOKEN
        case "OAUTHBEARER":
            header, *pairs = came[0].removesuffix(b"\x01\x01").split(b"\x01")
            flag, authzid, end = header.split(b",")
            name = authzid.removeprefix(b"a=").replace(b"=2C", b",").replace(b"=3D", b"=")
            bearer, token = dict(pair.split(b"=", 1) for pair in pairs)[b"auth"].split()
            said = flag in {b"n", b"y"} and not end and same_name(name) and prepare_name(NAME) == outcome.authzid
            return said and bearer.lower() == b"bearer" and token.decode() == TOKEN
        case _:
            return False


@pytest.fixture
def ready(play, stores):
    stores.add(NAME, PASSWORD)
    stores.tokens[TOKEN.encode()] = NAME
    stores.certificate = NAME
    play.context = dataclasses.replace(play.context, bindings={"tls-exporter": CHANNEL})
    return play


@pytest.mark.parametrize("name", MECHANISMS)
def test_an_exchange_that_nobody_touches_is_granted(ready, name):
    mechanism = next(each for each in client.MECHANISMS if each.name == name)
    login = mechanism.start(CREDENTIALS)
    wire = Wire(login, None)
    outcome = ready.with_responder(MECHANISMS[name], wire.initial(), wire.respond)
    assert isinstance(outcome, Granted)
    assert outcome.identity == Identity(NAME, "0")
    login.succeed()


@pytest.mark.parametrize("name", MECHANISMS)
@given(change=CHANGES)
@several_examples
def test_no_changed_exchange_is_granted(ready, name, change):
    play_changed(ready, name, Wire, change)


@pytest.mark.rfc("4648 §3")
@pytest.mark.parametrize("name", MECHANISMS)
@given(change=LINE_CHANGES)
@several_examples
def test_no_exchange_with_a_changed_line_is_granted(ready, name, change):
    play_changed(ready, name, Lines, change)


def play_changed(ready, name, kind, change):
    mechanism = next(each for each in client.MECHANISMS if each.name == name)
    login = mechanism.start(CREDENTIALS, "a.nonce.of.the.client")
    wire = kind(login, change)
    try:
        outcome = ready.with_responder(MECHANISMS[name], wire.initial(), wire.respond)
        if isinstance(outcome, Granted):
            login.succeed()
    except Malformed:
        event("malformed")
        return
    event(type(outcome).__name__)
    assert isinstance(outcome, Granted | Denied)
    if wire.has_changed and isinstance(outcome, Granted):
        if name == "LOGIN" and change.message % 2 == 0:
            return  # a prompt, which says nothing
        assert name != "CRAM-MD5" or change.message != 0, "granted in answer to another challenge"
        event("granted, for it says the same")
        assert outcome.identity == Identity(NAME, "0")
        assert says_the_same(name, wire, outcome)


@pytest.mark.rfc("5056 §2.1")
@pytest.mark.parametrize("name", [name for name, each in MECHANISMS.items() if each.binds])
@given(theirs=st.binary(max_size=64), kind=st.sampled_from(["tls-exporter", "tls-unique", "tls-server-end-point"]))
@several_examples
def test_whoever_carries_an_exchange_to_another_connection_gets_nowhere(ready, name, theirs, kind):
    mechanism = next(each for each in client.MECHANISMS if each.name == name)
    login = mechanism.start(dataclasses.replace(CREDENTIALS, binding=(kind, theirs)))
    outcome = ready.with_client(MECHANISMS[name], login)
    assert isinstance(outcome, Granted if (kind, theirs) == CREDENTIALS.binding else Denied)


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name.startswith(("SCRAM", "CRAM"))])
def test_a_recorded_exchange_is_good_only_once(ready, name):
    mechanism = next(each for each in client.MECHANISMS if each.name == name)
    wire = Wire(mechanism.start(CREDENTIALS), None)
    initial = wire.initial()
    assert isinstance(ready.with_responder(MECHANISMS[name], initial, wire.respond), Granted)
    recorded = iter(wire.came if initial is None else wire.came[1:])
    ready.context = dataclasses.replace(ready.context, nonce=lambda: "another.nonce.of.the.server")
    assert isinstance(ready.with_responder(MECHANISMS[name], initial, lambda _challenge: next(recorded)), Denied)


def is_no_claim(name: str, initial: bytes | None, responses: list[bytes]) -> bool:
    """Tell whether somebody with a certificate claims nothing but to be its owner."""
    return name == "EXTERNAL" and is_whoever_the_certificate_says(responses[0] if initial is None else initial)


@pytest.mark.parametrize("name", MECHANISMS)
@given(initial=st.none() | st.binary(max_size=80), responses=st.lists(st.binary(max_size=80), min_size=3, max_size=3))
@several_examples
def test_no_noise_is_granted(ready, name, initial, responses):
    waiting = iter(responses)
    try:
        outcome = ready.with_responder(MECHANISMS[name], initial, lambda _challenge: next(waiting))
    except Malformed:
        return
    assert isinstance(outcome, Denied) or is_no_claim(name, initial, responses)


# Something near to what is right, for the parsers behind the first check.
NEARLY = st.lists(
    st.sampled_from(
        [b"n", b"y", b"p", b"a", b"r", b"c", b"m", b"user", b"auth", b"Bearer ", b"biws", b"=", b",", b",,", b"\x01",
         b"\0", b" ", b"=2C", b"=3D", b"tim", b"n,,n=tim,r=x", b"c=biws,r=x", b"p=", b"eA==",
         b"\xc3\xa4", b"\xff", b"a" * 32],
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize("name", MECHANISMS)
@given(initial=st.none() | NEARLY, responses=st.lists(NEARLY, min_size=3, max_size=3))
@several_examples
def test_nothing_nearly_right_is_granted(ready, name, initial, responses):
    waiting = iter(responses)
    try:
        outcome = ready.with_responder(MECHANISMS[name], initial, lambda _challenge: next(waiting))
    except Malformed:
        return
    assert isinstance(outcome, Denied) or is_no_claim(name, initial, responses)
