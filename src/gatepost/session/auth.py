"""Drive a SASL exchange: carry its challenges to the client and its questions to the authority (RFC 4954 §4).

Written once for all mechanisms; a mechanism itself does no I/O (`gatepost.sasl.steps`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, assert_never

from gatepost.model.identity import Identity, Secret
from gatepost.model.peer import Peer
from gatepost.sasl.mechanism import Mechanism
from gatepost.sasl.steps import (
    Challenge,
    CheckCertificate,
    CheckPassword,
    CheckToken,
    Exchange,
    FetchSecret,
    Held,
    InThread,
    Outcome,
    Step,
    TokenRefused,
    Vouch,
)

__all__ = ["Answers", "Attempt", "Authority", "Client", "drive"]


class Client(Protocol):
    """The other end of an exchange."""

    async def respond(self, challenge: bytes, *, is_refusal: bool = False) -> bytes:
        """Send a challenge as 334; return the decoded response.  A refusal is sent at the moment of every no.

        Raises:
            Malformed: it is not base64, too long (`TooLong`), or ``*`` (`Cancelled`).
        """
        ...


class Answers(Protocol):
    """Answers the steps of a mechanism."""

    async def check_password(self, authcid: str, password: Secret) -> Identity | None:
        """Return whose password it is.  Raises `StoreUnavailable`, `Malformed`."""
        ...

    async def fetch_secret(self, authcid: str, scheme: str) -> Held:
        """Return what the stores hold for a name, or a decoy.  Raises `StoreUnavailable`, `Malformed`."""
        ...

    async def check_token(self, authcid: str, token: Secret) -> Identity | TokenRefused:
        """Judge an access token.  Raises `StoreUnavailable`."""
        ...

    async def check_certificate(self, authzid: str) -> Identity | None:
        """Return whose client certificate this connection has.  Raises `StoreUnavailable`."""
        ...

    async def vouch(self, authcid: str) -> Identity | None:
        """Return who somebody is whose proof was judged elsewhere.  Raises `StoreUnavailable`, `Malformed`."""
        ...

    async def in_thread(self, work: Callable[[], object]) -> object:
        """Return what *work* returns, done in a thread.  Raises `StoreUnavailable`, and what *work* raises."""
        ...


class Attempt(Answers, Protocol):
    """One attempt to log in: answers the steps of a mechanism, and remembers the true reason of a no.

    Attributes:
        authcid: the name somebody claims, prepared, for the log; empty until known.
        reason: why the last answer was a no; empty otherwise.
        doomed: why a decoy was handed out, so that the exchange can only end in a no; nobody may notice before its end.
        identity: who was found, even when they were then refused, for the log.
        doubt: which stores were away when the name was looked up: a no must be left open then.
        is_judged: whether a no would be one of the name's own store.
        canary: whose canary was touched, if one was: nobody is let in, and an alarm is due.
    """

    authcid: str
    reason: str
    doomed: str
    identity: Identity | None
    doubt: str
    is_judged: bool
    canary: Identity | None

    async def admit(self, identity: Identity, authzid: str) -> Identity | None:
        """After the proof: may this identity log in here, now, this way, as *authzid*?  None is a no, with `reason`."""
        ...


class Authority(Protocol):
    """Who knows about logins."""

    def offered(self, listener: str) -> tuple[Mechanism, ...]:
        """Return the mechanisms that work on *listener* at this moment, in the order EHLO shows them."""
        ...

    def begin(self, peer: Peer, mechanism: str) -> Attempt:
        """Start an attempt."""
        ...


async def drive(exchange: Exchange[Outcome], client: Client, attempt: Answers) -> Outcome:
    """Run *exchange* to its outcome, fetching each answer it asks for; what goes with success is not sent yet.

    Raises:
        Malformed: the client spoke badly or cancelled.
        StoreUnavailable: a store is away.
    """
    answer: Any = None
    try:
        while True:
            step: Step = exchange.send(answer)
            match step:
                case Challenge(data, is_refusal):
                    answer = await client.respond(data, is_refusal=is_refusal)
                case CheckPassword(authcid, password):
                    answer = await attempt.check_password(authcid, password)
                case FetchSecret(authcid, scheme):
                    answer = await attempt.fetch_secret(authcid, scheme)
                case CheckToken(authcid, token):
                    answer = await attempt.check_token(authcid, token)
                case CheckCertificate(authzid):
                    answer = await attempt.check_certificate(authzid)
                case Vouch(authcid):
                    answer = await attempt.vouch(authcid)
                case InThread(work):
                    answer = await attempt.in_thread(work)
                case _:
                    assert_never(step)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome
    finally:
        exchange.close()  # also when the client hangs up halfway
