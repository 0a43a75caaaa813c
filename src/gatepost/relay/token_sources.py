"""The access tokens of a worker's routes, looked after also without mail, so that trouble is seen early."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gatepost.model.clock import Clock
from gatepost.observe.event import Event
from gatepost.relay.oauth_client import OAuthClient
from gatepost.relay.token_source import TokenSource
from gatepost.state.token_store import TokenStore

__all__ = ["TokenSources"]

_TURN: Final = 5.0


class TokenSources:
    """Makes the sources of tokens, and looks after those that somebody still has.

    Args:
        store: where tokens are kept.
        clock: what time it is.
        emit: hears of renewals and troubles.
        works: is told of each route that lacked a token, and has one again.
    """

    def __init__(
        self, store: TokenStore, clock: Clock, emit: Callable[[Event], None], works: Callable[[str], Awaitable[None]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._works = works
        # A reload that came to nothing leaves sources that nobody has.
        self._sources: weakref.WeakValueDictionary[int, TokenSource] = weakref.WeakValueDictionary()
        self._made = 0

    def make(self, route: str, client: OAuthClient) -> TokenSource:
        """Return a new source of tokens for *route*.

        Raises:
            OSError: the certificates to trust cannot be read.
        """
        source = TokenSource(route, client, self._store, self._clock, self._emit)
        self._made += 1
        self._sources[self._made] = source
        return source

    async def run(self) -> None:
        """Renew in time what is to be renewed; until cancelled."""
        while True:
            sources = self._current()
            for route, ends_shortage in zip(
                sources, await asyncio.gather(*[each.look_after() for each in sources.values()]), strict=True
            ):
                if ends_shortage:
                    await self._works(route)
            del sources
            await self._clock.sleep(_TURN)

    def states(self) -> list[dict[str, Any]]:
        """Say how the tokens of each route are, as rows for people and programs."""
        rows = []
        for route, source in self._current().items():
            state = source.state()
            rows.append(
                {
                    "route": route,
                    "state": state.state,
                    "reason": state.reason,
                    "expires": state.expires_at,
                    "retry": state.retry_at,
                    "secret_expires": state.secret_expires,
                }
            )
        return rows

    def _current(self) -> dict[str, TokenSource]:
        """Return the sources by route: the newest, where an older one is about to go."""
        return {each.route: each for _, each in sorted(self._sources.items())}
