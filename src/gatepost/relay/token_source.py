"""The access tokens of one route: handed out while they are good, renewed in time, by one process of the node at once.

A renewal runs as a task of its own, which no end of a delivery cancels: a refresh token that the issuer has put in the
place of the old one is on disk before the access token that came with it is used, or it would be lost.  Whoever cannot
write asks for nothing.

Whatever is in the way of a token is trouble of the route: its mail waits, grows no older and never bounces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.observe.event import Event
from gatepost.observe.oauth_events import ClientSecretEnds, TokenRenewed, TokenTroubled
from gatepost.relay.oauth_client import SOON, STATES, OAuthClient
from gatepost.relay.token_answer import Away, Granted, Refused, read_answer
from gatepost.relay.token_endpoint import TokenEndpoint
from gatepost.relay.token_state import TokenState, fitting, is_due, is_usable, settled, state_of
from gatepost.relay.trouble import route_trouble
from gatepost.state.token_store import Tokens, TokenStore

__all__ = ["TokenSource"]

_log = logging.getLogger("gatepost.relay")

_DAY: Final = 86_400.0
# Another one for a token that was refused as soon as it was there would be refused as well.
_REFUSAL_PAUSE: Final = 300.0
_WRITE_PAUSE: Final = 1.0
_LOCK_PATIENCE: Final = 5.0  # beyond what the issuer may take


class TokenSource:
    """The access tokens of *route*.

    Args:
        route: its name.
        client: what we are to the issuer.
        store: where tokens are kept.
        clock: what time it is.
        emit: hears of renewals and troubles.

    Attributes:
        is_short: whether mail lacked a token when it was last looked at.

    Raises:
        OSError: the certificates to trust cannot be read.
    """

    def __init__(
        self, route: str, client: OAuthClient, store: TokenStore, clock: Clock, emit: Callable[[Event], None]
    ) -> None:
        self.route = route
        self.client = client
        self._store = store
        self._clock = clock
        self._emit = emit
        self._endpoint = TokenEndpoint(client)
        self._tokens = Tokens()
        self._stamp: tuple[int, int, int] | None = None
        self._problem = ""  # with our own files
        self._renewal: asyncio.Task[None] | None = None
        self._accepted: Secret | None = None
        self._made_at = clock.now()
        self._is_closed = False
        self.is_short = True  # until it was looked at: mail may wait since before a reload

    async def get(self) -> Secret:
        """Return an access token that is good.

        Raises:
            Trouble: there is none; its text says why, and what to do.
        """
        await self._look()
        now = self._clock.now()
        if is_due(self._tokens, now):
            if is_usable(self._tokens, now):
                self._start(None)
            else:
                await self._renewed(None)
        return self._usable()

    async def replacement(self, refused: Secret) -> Secret | None:
        """Return another token in the place of one that the next hop *refused*; None if another would help nothing.

        Raises:
            Trouble: there is none, nor that one any more.
        """
        is_new = refused != self._accepted and self._tokens.after_refusal
        is_fresh = self._clock.now() < self._tokens.issued_at + _REFUSAL_PAUSE
        if is_new and is_fresh and self._tokens.access_token == refused:
            return None
        await self._renewed(refused)
        fresh = self._usable()
        return None if fresh == refused else fresh

    def _usable(self) -> Secret:
        if is_usable(self._tokens, self._clock.now()):
            return self._tokens.access_token
        self.is_short = True
        state = self.state()
        raise route_trouble("4.7.0", f"no access token ({state.state}): {state.reason}")

    def accept(self, token: Secret) -> None:
        """Take note that the next hop let us in with *token*."""
        self._accepted = token

    def state(self) -> TokenState:
        """Say how the tokens are."""
        if self._problem:
            return TokenState(STATES[-1], self._problem, secret_expires=self.client.secret_expires)
        return state_of(self.route, self._tokens, self.client, self._clock.now())

    async def look_after(self) -> bool:
        """See what others did, and begin what is due; tell whether mail can go out that could not."""
        await self._look()
        now = self._clock.now()
        if is_due(self._tokens, now) and not self._waits(self._tokens, now):
            self._start(None)
        elif self._is_warning_due(self._tokens, now):
            await self._warn(now)
        was_short, self.is_short = self.is_short, not is_usable(self._tokens, now)
        return was_short and not self.is_short

    async def close(self) -> None:
        """Ask for no more; what the issuer was asked for is still taken, and kept."""
        self._is_closed = True
        if self._renewal is not None:
            await asyncio.wait({self._renewal})

    # What is written down.

    async def _look(self) -> None:
        """Read what another process wrote."""
        stamp, known = self._store.stamp(self.route), self._tokens
        if stamp == self._stamp and not self._problem:
            return
        try:
            tokens = await self._store.read(self.route)
        except StateUnavailable as error:
            self._problem = str(error)
            return
        if self._tokens is known:  # else a renewal of ours ended meanwhile, and knows better
            self._problem = ""
            self._stamp, self._tokens = stamp, fitting(tokens, self.client)

    # Renewal.

    def _start(self, refused: Secret | None) -> asyncio.Task[None]:
        """Begin a renewal, or join the one that is under way."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renew(refused), name=f"token of {self.route}")
            self._renewal.add_done_callback(_tell_of_end)
        return self._renewal

    async def _renewed(self, refused: Secret | None) -> None:
        """Wait for a renewal; not for ever, if what came cannot be kept."""
        renewal = self._start(refused)
        await asyncio.wait({renewal}, timeout=2 * (self.client.timeout + _LOCK_PATIENCE))

    async def _renew(self, refused: Secret | None) -> None:
        try:
            async with self._store.renewing(self.route, self.client.timeout + _LOCK_PATIENCE):
                # Somebody else may have been faster: what they got is ours, and what they used up is gone.
                tokens = fitting(await self._store.read(self.route), self.client)
                self._adopt(tokens)
                now = self._clock.now()
                if not self._is_needed(tokens, refused, now):
                    return
                asked = replace(tokens, client=self.client.fingerprint, scopes=self.client.scope, asked_at=now)
                # If this cannot be written, what comes back could not be either, and would be lost.
                await self._store.write(self.route, asked)
                answer = await self._ask(asked)
                fresh = settled(asked, answer, now=self._clock.now(), after_refusal=refused is not None)
                await self._keep(fresh)
                self._adopt(fresh)
                self._tell(tokens, fresh)
        except StateUnavailable as error:
            if not is_usable(self._tokens, self._clock.now()):
                self._problem = str(error)
            _log.warning("route %s: %s", self.route, error)

    def _is_needed(self, tokens: Tokens, refused: Secret | None, now: float) -> bool:
        if self._is_closed or (not self.client.is_itself and not tokens.refresh_token):
            return False
        if refused is not None and tokens.access_token == refused:
            return not self._waits(tokens, now)
        return is_due(tokens, now) and not self._waits(tokens, now)

    def _waits(self, tokens: Tokens, now: float) -> bool:
        """Tell whether the issuer is left alone for now; what was tried before a start or a reload does not count."""
        if not self.client.is_itself and not tokens.refresh_token:
            return True
        return bool(tokens.trouble) and self._made_at <= tokens.asked_at <= now < tokens.retry_at

    async def _ask(self, tokens: Tokens) -> Granted | Refused | Away:
        try:
            answer = await self._endpoint.ask(self.client.renewal(tokens.refresh_token))
        except OSError as error:
            return Away(str(error))
        hidden = (tokens.refresh_token, tokens.access_token, self.client.secret or Secret(b""))
        return read_answer(answer, hidden)

    async def _keep(self, tokens: Tokens) -> None:
        """Write down what came; as long as that fails nobody else may ask, for what they would use may be used up."""
        while True:
            try:
                await self._store.write(self.route, tokens)
                return
            except StateUnavailable as error:
                if self._problem != str(error):
                    self._problem = str(error)
                    _log.error("route %s: the token that came cannot be kept: %s", self.route, error)
                if self._is_closed:
                    raise
                await self._clock.sleep(_WRITE_PAUSE)

    def _adopt(self, tokens: Tokens) -> None:
        self._tokens, self._stamp, self._problem = tokens, self._store.stamp(self.route), ""

    # Telling.

    def _tell(self, before: Tokens, after: Tokens) -> None:
        if not after.trouble:
            self._emit(TokenRenewed(self.route, after.expires_at, after.after_refusal))
        elif (after.trouble, _code(after)) != (before.trouble, _code(before)):
            state = self.state()
            self._emit(TokenTroubled(self.route, after.trouble, state.reason or after.reason, after.retry_at))

    def _is_warning_due(self, tokens: Tokens, now: float) -> bool:
        ends = self.client.secret_expires
        return ends is not None and now > ends - SOON and now > tokens.warned_at + _DAY

    async def _warn(self, now: float) -> None:
        """Tell once a day, and once for all processes, that the client secret ends."""
        ends = self.client.secret_expires
        assert ends is not None
        try:
            async with self._store.renewing(self.route, _LOCK_PATIENCE):
                tokens = fitting(await self._store.read(self.route), self.client)
                if self._is_warning_due(tokens, now):
                    tokens = replace(tokens, client=self.client.fingerprint, scopes=self.client.scope, warned_at=now)
                    await self._store.write(self.route, tokens)
                    self._emit(ClientSecretEnds(self.route, ends))
                self._adopt(tokens)
        except StateUnavailable as error:
            _log.warning("route %s: %s", self.route, error)


def _code(tokens: Tokens) -> str:
    """Return what stays the same of a reason: some issuers put the time and a number into their words."""
    return tokens.reason.partition(":")[0]


def _tell_of_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s was not renewed", task.get_name(), exc_info=error)
