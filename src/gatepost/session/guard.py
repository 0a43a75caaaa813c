"""Stand between an exchange and what it asks: nothing is judged for those who guessed too often.

The count is asked at the last moment before a judgement: a client that is slow, or never comes back, keeps nobody else
from theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from gatepost.errors import GatepostError, Malformed
from gatepost.model.identity import Identity, Secret
from gatepost.sasl.mechanism import Mechanism, Needs
from gatepost.sasl.prepare import prepare_name
from gatepost.sasl.steps import Held, TokenRefused
from gatepost.session.auth import Attempt, Client
from gatepost.state.guesses import Guess, Guesses, LockedOut

__all__ = ["Guard", "NotJudged", "PunctualClient"]

# Their clients prove themselves only after the secret was fetched.
_PROVEN_AFTERWARDS: Final = frozenset({Needs.SCRAM_SHA_1, Needs.SCRAM_SHA_256, Needs.SCRAM_SHA_512})


class NotJudged(GatepostError):
    """There were too many guesses; its text says which, for the log."""


class PunctualClient(Client, Protocol):
    """The client's end, which tells nothing by the clock."""

    async def wait_for_moment_of_challenge(self) -> None:
        """Wait until the moment at which a challenge is sent that is made of what the stores hold."""
        ...


class Guard:
    """Both ends of one exchange, as it sees them.

    Args:
        attempt: answers what is asked.
        client: the client's end.
        mechanism: what the exchange is of.
        guesses: counts failed logins; None counts nothing.
        address: of the client.
    """

    def __init__(
        self, attempt: Attempt, client: PunctualClient, mechanism: Mechanism, guesses: Guesses | None, address: str
    ) -> None:
        self._attempt = attempt
        self._client = client
        self._guesses = guesses
        self._address = address
        self._is_proven_afterwards = mechanism.needs in _PROVEN_AFTERWARDS
        self._awaits_proof = False
        self._is_judged_beside = False
        self._is_of_nobody = False
        self._guess: Guess | None = None

    async def respond(self, challenge: bytes, *, is_refusal: bool = False) -> bytes:
        """Send a challenge; return the response."""
        if is_refusal:
            # Counted before the client hears of it.
            await self.failed()
        if self._awaits_proof:
            await self._client.wait_for_moment_of_challenge()
        await self._give_back()
        response = await self._client.respond(challenge, is_refusal=is_refusal)
        if self._awaits_proof:
            self._awaits_proof = False
            await self._ask(self._attempt.authcid)
        return response

    async def check_password(self, authcid: str, password: Secret) -> Identity | None:
        """Return whose password it is.  Raises `NotJudged`, `StoreUnavailable`, `Malformed`."""
        await self._ask(prepare_name(authcid))
        return await self._attempt.check_password(authcid, password)

    async def fetch_secret(self, authcid: str, scheme: str) -> Held:
        """Return what the stores hold for a name.  Raises `NotJudged`, `StoreUnavailable`, `Malformed`."""
        if self._is_proven_afterwards:
            self._awaits_proof = True
        else:
            await self._ask(prepare_name(authcid))
        return await self._attempt.fetch_secret(authcid, scheme)

    async def check_token(self, authcid: str, token: Secret) -> Identity | TokenRefused:
        """Judge an access token.  Raises `NotJudged`, `StoreUnavailable`."""
        if token:  # whoever brings none asks what it should be, and guesses nothing
            await self._ask(_prepared(authcid))
        return await self._attempt.check_token(authcid, token)

    async def check_certificate(self, authzid: str) -> Identity | None:
        """Return whose client certificate it is.  Raises `NotJudged`, `StoreUnavailable`."""
        await self._ask(_prepared(authzid))
        return await self._attempt.check_certificate(authzid)

    async def vouch(self, authcid: str) -> Identity | None:
        """Return who somebody is who was proven elsewhere.  Raises `NotJudged`, `StoreUnavailable`, `Malformed`."""
        name = prepare_name(authcid)
        await self._give_back()
        self._is_of_nobody = False
        await self._ask(name)
        return await self._attempt.vouch(authcid)

    async def in_thread(self, work: Callable[[], object]) -> object:
        """Return what *work* returns, done in a thread.  Raises `NotJudged`, `StoreUnavailable`, and what it raises."""
        # What it judges, and of whom, is not known: whoever guessed too often from there has nothing judged.
        if self._guess is None:
            self._is_of_nobody = self._is_judged_beside = True
        await self._ask("")
        return await self._attempt.in_thread(work)

    async def failed(self) -> None:
        """Count it, if anything was judged."""
        is_judged_beside, self._is_judged_beside = self._is_judged_beside, False
        if self._guess is None and is_judged_beside:
            with contextlib.suppress(NotJudged):
                await self._ask(self._attempt.authcid)
        if self._guess is not None and self._attempt.is_judged:
            await self._guess.failed()

    async def succeeded(self) -> None:
        """Count nothing, and forgive this login at this address."""
        if self._guess is not None:
            await self._guess.succeeded()

    def block(self) -> float:
        """Let nobody be judged who comes from there; return for how many seconds, 0 if they cannot be kept out."""
        return self._guesses.block(self._address) if self._guesses is not None else 0.0

    def withdrawn(self) -> None:
        """Count nothing, unless it failed or succeeded before."""
        if self._guess is not None:
            self._guess.withdrawn()

    async def _give_back(self) -> None:
        """Count nothing for what a thread has judged so far: a client that is slow keeps nobody else from theirs."""
        if self._is_of_nobody and self._guess is not None:
            guess, self._guess = self._guess, None
            await guess.succeeded()  # nobody's, so that nothing is forgiven, and the room is there for what comes next

    async def _ask(self, login: str) -> None:
        if self._guesses is None or self._guess is not None:
            return
        answer = await self._guesses.begin(self._address, login)
        if isinstance(answer, LockedOut):
            self._attempt.authcid = login
            raise NotJudged(answer.reason)
        self._guess = answer


def _prepared(name: str) -> str:
    """Return *name* prepared; empty, which is nobody, if it is no name."""
    try:
        return prepare_name(name) if name else ""
    except Malformed:
        return ""
