"""Talk to a server in ways that nobody should, and judge every answer (`make fuzz SECONDS= SEED=`).

Either a dialog is answered as the reference says, or the shortest form of it that is not is printed with its seed.
Each dialog goes through a real socket, whole or cut at random; some then once more in memory, octet by octet and cut
at one place after the other, and must be answered the same.  At the end nothing may have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)

from fuzz.dialogs import LOGIN, SECRET, Dialog, dialog
from fuzz.play import Outcome, Player
from fuzz.replies import Broken
from fuzz.shrink import shrink
from fuzz.weight import Weight, weigh
from gatepost.observe.events import MessageAccepted, SessionFailed
from gatepost.testing import RunningServer, make_accounts, running
from servers import Authority

__all__ = ["LOOPS", "Failure", "Fuzz", "Report"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
_AT_ONCE = 6
_WARM_UP = 240
# Of so many dialogs one is cut at every place; of those before and those after TLS alike.
_EXHAUSTIVE_EVERY = 13
_EXHAUSTIVE_LIMIT = 400
_SHRINK_SECONDS = 30.0
_SETTINGS: dict[str, Any] = {
    "auth": {"mechanisms": ("SCRAM-SHA-256", "PLAIN", "LOGIN"), "failure_delay": "0s"},
    "limits": {
        "message_bytes": "64KiB",
        "header_bytes": "16KiB",
        "connections_per_address": 1000,
        "recipients_per_day": 0,
        "messages_per_minute": 0,
        "failed_logins_per_address": 0,
        "failed_logins_per_network": 0,
        "failed_logins_per_login": 0,
    },
}


class Failure(AssertionError):
    """What was found, to be read by people."""


@dataclass
class Report:
    """What was done."""

    seed: int
    dialogs: int = 0
    plays: int = 0
    messages: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    before: Weight | None = None
    after: Weight | None = None

    def __str__(self) -> str:
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(self.codes.items()))
        return (
            f"seed {self.seed}: {self.dialogs} dialogs in {len(self.states)} states, played {self.plays} times, "
            f"{self.messages} messages kept as sent; replies {codes}; "
            f"at rest {self.before}, then {self.after}"
        )


class Fuzz:
    """One run.

    Args:
        folder: for everything.
        seed: of all chance.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.report = Report(seed)
        self._folder = folder
        self._authority = Authority(folder / "certificates")
        self._server: RunningServer
        self._player: Player
        self._accepted = 0
        self._troubles: list[str] = []
        self._next = 0

    def run(self, loop: str, seconds: float, only: int | None = None, least: int = 0) -> Report:
        """Go on for so long on that loop, and for at least so many dialogs, or play *only* one.  Raises `Failure`."""
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(self._run(seconds, only, least))
        return self.report

    async def _run(self, seconds: float, only: int | None, least: int) -> None:
        asyncio.get_running_loop().set_exception_handler(self._note)
        state = self._folder / "state"
        make_accounts(state, {LOGIN: SECRET})
        certificate, key = self._authority.certificate, self._authority.key
        async with running(state, certificate=certificate, key=key, settings=_SETTINGS) as self._server:
            self._server.worker.emit.add(self._hear)
            self._player = Player(self._server, self._authority)
            await self._player.look_around()
            if only is not None:
                await self._judge(only, dialog(self.report.seed, only))
                return
            deadline = time.monotonic() + seconds
            warm = deadline - seconds * 0.7
            await self._all(lambda: self._next >= _WARM_UP and time.monotonic() > warm)
            await self._rest(None)  # to weigh takes memory, too, the first time
            self.report.before = await self._rest(None)
            await self._all(lambda: self._next >= least and time.monotonic() > deadline)
            self.report.after = await self._rest(self.report.before)
            self.report.plays = self._player.plays

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._troubles.append(f"in the loop: {context.get('message')}: {context.get('exception')!r}")

    def _hear(self, event: object) -> None:
        self._accepted += isinstance(event, MessageAccepted)
        if isinstance(event, SessionFailed):
            self._troubles.append(str(event))

    async def _all(self, is_over: Callable[[], bool]) -> None:
        """Play dialogs, several at once."""
        tasks = [asyncio.create_task(self._work(is_over)) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            number, self._next = self._next, self._next + 1
            await self._judge(number, dialog(self.report.seed, number))

    async def _judge(self, number: int, made: Dialog) -> None:
        """Play a dialog in all ways it is to be played.  Raises `Failure`."""
        report = self.report
        report.dialogs += 1
        report.states[made.state] += 1
        outcome = await self._try(number, made, None)
        report.codes.update(outcome.codes)
        if number % _EXHAUSTIVE_EVERY == 0 and len(made.hostile) <= _EXHAUSTIVE_LIMIT:
            by_memory = replace(made, by_socket=False, inside=b"", cuts=())
            usual = await self._try(number, by_memory, None)
            await self._try(number, replace(by_memory, cuts=tuple(range(len(made.hostile)))), usual)
            for place in range(1, len(made.hostile)):
                await self._try(number, replace(by_memory, cuts=(place,)), usual)
        self._server.events.clear()

    async def _try(self, number: int, made: Dialog, usual: Outcome | None) -> Outcome:
        try:
            return await self._check(made, usual)
        except Broken as broken:
            raise Failure(await self._explain(number, made, usual, broken)) from None

    async def _check(self, made: Dialog, usual: Outcome | None) -> Outcome:
        """Play a dialog once, which must go like *usual*.  Raises `Broken`."""
        outcome = await self._player.play(made)
        self.report.messages += len(outcome.contents)
        if usual is not None and (outcome.codes, outcome.contents) != (usual.codes, usual.contents):
            raise Broken(f"whole it is answered {usual.codes}, in pieces {outcome.codes}")
        if self._troubles:
            raise Broken(f"trouble {self._troubles.pop(0)}")
        return outcome

    async def _rest(self, before: Weight | None) -> Weight:
        """Wait until nothing is going on, and weigh.  Raises `Failure` if that is more than *before*."""
        worker = self._server.worker
        deadline = time.monotonic() + 120
        while True:
            weight = weigh()
            is_quiet = not worker.sessions and not worker.spool.count()
            if is_quiet and (before is None or weight.is_no_more_than(before)):
                break
            if time.monotonic() > deadline:
                raise Failure(f"seed {self.report.seed}: it does not come to rest: {before}, now {weight}")
            await asyncio.sleep(0.1)
        # Each that was accepted was seen by its client, too, and came out of one end of data of its own.
        if self._accepted != self.report.messages:
            raise Failure(f"seed {self.report.seed}: {self._accepted} accepted, of {self.report.messages} messages")
        return weight

    async def _explain(self, number: int, made: Dialog, usual: Outcome | None, broken: Broken) -> str:
        """Find the shortest dialog that shows the same; say how to play it again."""
        self._player.patience = 1.5

        async def shows(tried: Dialog) -> bool:
            try:
                expected = await self._player.play(replace(tried, cuts=())) if usual is not None else None
                await self._check(tried, expected)
            except Broken as found:
                reasons.append(str(found))
                return True
            return False

        reasons = [str(broken)]
        shortest = await shrink(made, shows, seconds=_SHRINK_SECONDS)
        seed = self.report.seed
        return (
            f"seed {seed}, dialog {number}: {broken}\nagain: make fuzz SEED={seed} DIALOG={number}\n"
            f"the shortest: {reasons[-1]}\n{shortest}"
        )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--dialog", type=int, help="play this one alone")
    parser.add_argument("--loop", choices=list(LOOPS), default="uvloop")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="gatepost-fuzz-", ignore_cleanup_errors=True) as folder:
        try:
            print(Fuzz(Path(folder), options.seed).run(options.loop, options.seconds, options.dialog))
        except Failure as failure:
            print(failure)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
