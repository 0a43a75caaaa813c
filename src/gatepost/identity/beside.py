"""What mechanisms from elsewhere do beside the loop: some threads, a bounded queue, and an end to all patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.passwords import HashingPool

__all__ = ["Beside"]

_THREADS: Final = 4
_QUEUE: Final = 64
_PATIENCE: Final = 30.0


class Beside:
    """Threads of their own, made when first needed: nothing that waits there keeps a password from being checked.

    Args:
        patience: how long somebody waits for what is done there, in seconds.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._pool: HashingPool | None = None

    async def run(self, work: Callable[[], object]) -> object:
        """Return what *work* returns.

        Raises:
            StoreUnavailable: too much waits already, or it takes too long; it is then left alone.
        """
        if self._pool is None:
            self._pool = HashingPool(_THREADS, _QUEUE)
        try:
            async with asyncio.timeout(self._patience):
                return await self._pool.run(work)
        except TimeoutError:
            raise StoreUnavailable(f"what the mechanism waits for takes longer than {self._patience:g} s") from None

    def close(self) -> None:
        """Forget what waits; let go of the threads."""
        if self._pool is not None:
            self._pool.close()
