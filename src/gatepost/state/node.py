"""What the workers of a node share by way of its state file, opened and closed as one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import LoginSucceeded, StateTroubled
from gatepost.state.counters import Counters
from gatepost.state.database import Database
from gatepost.state.guesses import Guesses
from gatepost.state.last_used import LastUsed
from gatepost.state.pace_file import PACE_FILE, PaceFile
from gatepost.state.subjects import LoginLimits

__all__ = ["STATE_FILE", "NodeState"]

STATE_FILE = "state.db"


class NodeState:
    """The state of the node whose state_dir is *folder*, for one worker.

    Args:
        folder: where the file lies.
        login_limits: how many logins may fail.
        clock: what time it is.
        emit: hears of trouble, and of who is locked out.

    Attributes:
        database: the file.
        guesses: failed logins.
        counters: quotas.
        last_used: when credentials were last used.
        paces: how fast mail goes out.
    """

    def __init__(self, folder: Path, login_limits: LoginLimits, clock: Clock, emit: Emitter) -> None:
        self.database = Database(folder / STATE_FILE, emit=emit)
        self.guesses = Guesses(self.database, login_limits, clock, emit)
        self.counters = Counters(self.database, clock)
        self.last_used = LastUsed(self.database, clock)
        self.paces = PaceFile(folder / PACE_FILE)
        self._emit = emit
        emit.add(self.last_used, LoginSucceeded)

    def open(self) -> None:
        """Open it, or tell of the trouble and go on.

        Raises:
            ConfigError: a newer gatepost wrote the file.
        """
        self.database.open()
        self.guesses.open()
        try:
            self.paces.open()
        except OSError as error:
            self._emit(StateTroubled(f"{PACE_FILE}: {error.strerror or error}"))

    async def run(self) -> None:
        """Write what need not be written at once; until cancelled."""
        await asyncio.gather(self.counters.run(), self.last_used.run())

    async def close(self) -> None:
        """Write what waits, and close it."""
        await self.counters.close()
        await self.last_used.write()
        self.guesses.close()
        await asyncio.to_thread(self.paces.close)
        await asyncio.to_thread(self.database.close)
