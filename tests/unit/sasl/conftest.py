"""Stores that answer the steps of a mechanism, and a talk between a mechanism and whoever responds."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import Malformed
from gatepost.model.identity import Identity, Secret
from gatepost.sasl import hmac_md5, scram
from gatepost.sasl.mechanism import Context, Mechanism
from gatepost.sasl.prepare import password_forms, prepare_name, prepare_password
from gatepost.sasl.steps import (
    Candidate,
    Challenge,
    CheckCertificate,
    CheckPassword,
    CheckToken,
    FetchSecret,
    Granted,
    Held,
    InThread,
    Outcome,
    Step,
    TokenProblem,
    TokenRefused,
    Vouch,
)

SALT = b"0123456789abcdef"
ITERATIONS = 4096


@dataclass(repr=False)
class Stores:
    """What stores know: passwords by prepared name, tokens by themselves, and whose certificate the client showed."""

    passwords: dict[str, list[bytes]] = field(default_factory=dict)
    tokens: dict[bytes, str] = field(default_factory=dict)
    certificate: str = ""
    asked: list[Step] = field(default_factory=list)
    _records: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def add(self, login: str, *passwords: str) -> None:
        self.passwords[prepare_name(login)] = [prepare_password(each) for each in passwords]

    def identity(self, name: str, place: int = 0) -> Identity:
        return Identity(name, str(place))

    def answer(self, step: Step) -> Any:
        self.asked.append(step)
        match step:
            case CheckPassword(name, password):
                for place, known in enumerate(self.passwords.get(name, ())):
                    if known in password_forms(password.reveal()):
                        return self.identity(name, place)
                return None
            case FetchSecret(name, scheme):
                held = [
                    Candidate(self.identity(name, place), self._verifier(known, scheme))
                    for place, known in enumerate(self.passwords.get(name, ()))
                ]
                return Held(tuple(held) or (Candidate(None, self._verifier(b"nobody has this", scheme)),))
            case CheckToken(name, token):
                if self.tokens.get(token.reveal()) == name:
                    return self.identity(name)
                return TokenRefused(TokenProblem.INVALID, "mail.send")
            case CheckCertificate(authzid):
                return (
                    self.identity(self.certificate) if self.certificate and authzid in ("", self.certificate) else None
                )
            case Vouch(name):
                return self.identity(name) if name in self.passwords else None
            case InThread(work):
                return work()
        raise AssertionError(step)

    def _verifier(self, password: bytes, scheme: str) -> Secret:
        if scheme == "HMAC-MD5":
            return Secret(hmac_md5.states(password))
        record = self._records.get((scheme, password))
        if record is None:
            record = self._records[scheme, password] = scram.derive(password, SALT, ITERATIONS, scheme)
        return Secret(record.encode())


Respond = Callable[[bytes], bytes]


def talk(mechanism: Mechanism, initial: bytes | None, respond: Respond, stores: Stores, context: Context) -> Outcome:
    """Play the driver: as the session does it, without waiting for anything."""
    exchange = mechanism.start(initial, context)
    answer: Any = None
    try:
        while True:
            step = exchange.send(answer)
            answer = respond(step.data) if isinstance(step, Challenge) else stores.answer(step)
    except StopIteration as stop:
        outcome: Outcome = stop.value
    if isinstance(outcome, Granted) and outcome.final is not None and respond(outcome.final) != b"":
        raise Malformed("expected an empty response to the final challenge")
    return outcome


@dataclass(repr=False)
class Play:
    """Plays a mechanism by a list of responses; keeps the challenges."""

    stores: Stores
    context: Context
    challenges: list[bytes] = field(default_factory=list)

    def __call__(self, mechanism: Mechanism, initial: bytes | None, *responses: bytes) -> Outcome:
        waiting = list(responses)

        def respond(challenge: bytes) -> bytes:
            self.challenges.append(challenge)
            return waiting.pop(0)

        outcome = talk(mechanism, initial, respond, self.stores, self.context)
        assert not waiting, "responses that nobody asked for"
        return outcome

    def with_responder(self, mechanism: Mechanism, initial: bytes | None, respond: Respond) -> Outcome:
        """Play it against somebody else's client."""
        return talk(mechanism, initial, respond, self.stores, self.context)

    def with_client(self, mechanism: Mechanism, login: Any) -> Outcome:
        """Play it against a client of ours."""
        return talk(mechanism, login.initial, login.respond, self.stores, self.context)


@pytest.fixture
def stores() -> Stores:
    return Stores()


@pytest.fixture
def play(stores: Stores) -> Play:
    return Play(stores, Context("mail.example.org", lambda: "fixed.nonce.with.enough.bits"))


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "vectors" / "sasl.toml"
    return tomllib.loads(path.read_text())
