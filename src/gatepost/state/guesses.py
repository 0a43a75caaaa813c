"""Failed logins, counted over all workers of a node, so that nobody can guess for long.

    guess = await guesses.begin(peer.address, login)        # before the password is looked at
    if isinstance(guess, LockedOut): ...                    # it is not looked at
    await guess.failed()                                    # before the client hears of it
    await guess.succeeded()
    guess.withdrawn()                                       # nothing was judged: a store was away

Never more than the limit are judged in a window, however many come at once to however many workers; and each that the
limit allows is judged.  Yet a login from where nobody failed writes nothing.  A quarter of each limit are *slots*
(`gatepost.state.slots`): with a slot taken, and fewer failures on record than the other three quarters, a guess is
judged at once, and written down if it fails.  Else it is written down first, as a failure, and taken back if it
succeeds; and of the last quarter so only once no slot is taken.  Failures on record and slots taken together therefore
never pass the limit.  What a process wrote down before it died stays a failure.

Failures are forgotten a window later, slice by slice.  A success forgives the failures of this login at this address,
but not those of the address: or a guesser with a login of their own would be forgiven, too.

When the state file cannot be used each worker counts by itself, as well as it can: nobody is locked out for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import LoginsLocked
from gatepost.state.database import Database
from gatepost.state.guess_rows import add, count_of, fill, mark, prune, take_one
from gatepost.state.homes import Homes
from gatepost.state.slots import Slots
from gatepost.state.subjects import LoginLimits, Plan, Subject, blockable, named, places_of, plan_of, window

__all__ = ["Guess", "Guesses", "LockedOut"]

T = TypeVar("T")

# How long a guess waits for others to give back their slots, and how long between two looks, in seconds.
_PATIENCE: Final = 10.0
_FIRST_PAUSE: Final = 0.002
_LAST_PAUSE: Final = 0.1
_UNWRITTEN_LIMIT: Final = 10_000
_PLAN_LIMIT: Final = 4096

_COUNT: Final = """
    SELECT subject, sum(count) FROM guess
    WHERE subject IN (?, ?, ?) AND slice BETWEEN ? AND ? GROUP BY subject"""
_AND_HOME: Final = """
    UNION ALL SELECT NULL, day FROM home WHERE login = ? AND address = ?"""


@dataclass(frozen=True, slots=True)
class LockedOut:
    """A guess is not judged; *reason* is for the log."""

    reason: str


class Guess:
    """A login that is about to be judged.  Ends with one of its three methods; any call after that changes nothing."""

    __slots__ = (
        "_guesses",
        "_is_over",
        "address",
        "filled",
        "has_failures_at_home",
        "login",
        "places",
        "slice",
        "subjects",
    )

    def __init__(self, guesses: Guesses, login: str, plan: Plan) -> None:
        self._guesses = guesses
        self._is_over = False
        self.login = login
        self.address = plan.address
        self.subjects = plan.subjects
        self.places: Sequence[int] = ()
        self.slice: int | None = None
        self.filled: Sequence[Subject] = ()
        self.has_failures_at_home = False

    async def failed(self) -> None:
        """Count it."""
        if not self._end():
            await self._guesses.record(self)

    async def succeeded(self) -> None:
        """Count nothing, and remember that the login is at home at the address."""
        if not self._end():
            await self._guesses.forgive(self)

    def withdrawn(self) -> None:
        """Count nothing: it was not judged."""
        if not self._end():
            self._guesses.take_back(self)

    def _end(self) -> bool:
        was_over, self._is_over = self._is_over, True
        return was_over


class Guesses:
    """Counts failed logins.

    Args:
        database: the state of the node.
        limits: how many there may be; the same in all workers.
        clock: what time it is.
        emit: hears of who becomes locked out.
    """

    def __init__(self, database: Database, limits: LoginLimits, clock: Clock, emit: Emitter) -> None:
        self._database = database
        self._clock = clock
        self._emit = emit
        self._slots = Slots(database.path.with_name("guesses.lock"))
        self._homes = Homes(database, clock)
        # What could not be written: by subject, in which slice it began, and how many.
        self._unwritten: dict[str, tuple[int, int]] = {}
        self._plans: dict[tuple[str, str, bool], Plan] = {}
        self._pruned = 0
        self.limits = limits

    def open(self) -> None:
        """Begin; the database must be open."""
        # Without slots every guess is written down first.
        with contextlib.suppress(OSError):
            self._slots.open()

    def adapt(self, limits: LoginLimits) -> None:
        """Go on with other limits."""
        self.limits = limits
        self._plans.clear()

    def close(self) -> None:
        """End, before the database is closed."""
        self._homes.flush()
        self._slots.close()

    async def begin(self, address: str, login: str) -> Guess | LockedOut:
        """Ask whether a login from *address* may be judged; *login* is prepared, and empty if none was claimed."""
        plan = self._plan(address, login)
        # Taken before the look, so that whoever finds none taken is seen by it.
        places = self._take_slots(plan.subjects)
        _, first, last = window(self.limits, self._clock.now())
        rows = None
        with contextlib.suppress(StateUnavailable):
            if plan.is_at_home or not login:
                rows = self._database.read(_COUNT, (*plan.keys, first, last))
            else:
                rows = self._database.read(_COUNT + _AND_HOME, (*plan.keys, first, last, login, plan.address))
        if rows is None:
            self._give_back(places)
            return self._locked(plan, {}, first) or await self._reserve(Guess(self, login, plan))
        counts: dict[str | None, int] = dict(rows)
        if None in counts and self._homes.learn(login, plan.address, counts[None]):
            # Counted as one at home, from now on.
            self._give_back(places)
            return await self.begin(address, login)
        guess = Guess(self, login, plan)
        if counts or self._unwritten:
            guess.has_failures_at_home = plan.is_at_home and plan.subjects[-1].key in counts
            locked = self._locked(plan, counts, first)
            if locked is not None:
                self._give_back(places)
                return locked
        if len(places) == len(plan.subjects) and all(
            counts.get(each.key, 0) < each.threshold for each in plan.subjects
        ):
            guess.places = places
            return guess
        self._give_back(places)
        return await self._reserve(guess)

    async def record(self, guess: Guess) -> None:
        """Write down that it failed, unless that is written already."""
        if guess.slice is not None:
            await self._tell(guess.filled)
            return
        now, first, last = window(self.limits, self._clock.now())

        def change(connection: sqlite3.Connection) -> list[Subject]:
            filled = []
            for each in guess.subjects:
                add(connection, each.key, now)
                if count_of(connection, each.key, first, last) == each.limit:
                    filled.append(each)
            return filled

        try:
            # The slots are given back when the failure counts, and not before.
            await self._tell(await self._write(change, lambda _: self._give_back(guess.places)))
        except StateUnavailable:
            self._keep_unwritten(guess, now, first)
        self._prune(now)

    async def forgive(self, guess: Guess) -> None:
        """Take back what was written before it succeeded."""
        self._keep_slots(guess)
        if guess.login:
            self._homes.note(guess.login, guess.address)
        if guess.slice is not None:
            # Waited for: who comes next finds the room.
            with contextlib.suppress(StateUnavailable):
                await self._write(lambda connection: _take_back(connection, guess))
        elif guess.has_failures_at_home:
            self._database.submit(lambda connection: _take_back(connection, guess))

    def block(self, address: str) -> float:
        """Judge nothing from *address* for a window; return how long that is, 0 if it is not counted."""
        subject = blockable(address, self.limits)
        if subject is None:
            return 0.0
        now, first, last = window(self.limits, self._clock.now())

        def see(done: Future[None]) -> None:
            if done.exception() is not None:
                self._unwritten[subject.key] = (now, subject.limit)

        self._database.submit(
            lambda connection: fill(connection, subject.key, subject.limit, now, first, last)
        ).add_done_callback(see)
        return self.limits.window

    def take_back(self, guess: Guess) -> None:
        """Make as if it had never begun."""
        self._keep_slots(guess)
        if guess.slice is not None:
            guess.has_failures_at_home = False
            self._database.submit(lambda connection: _take_back(connection, guess))

    def _plan(self, address: str, login: str) -> Plan:
        places = places_of(address, self.limits.exempt)
        is_at_home = self._homes.is_known(login, places.address)
        plan = self._plans.get((address, login, is_at_home))
        if plan is None:
            if len(self._plans) >= _PLAN_LIMIT:
                self._plans.clear()
            plan = self._plans[address, login, is_at_home] = plan_of(places, login, self.limits, is_at_home=is_at_home)
        return plan

    def _take_slots(self, subjects: Sequence[Subject]) -> Sequence[int]:
        """Take a slot of each; what is returned is shorter when one could not be had."""
        places = []
        for each in subjects:
            place = self._slots.take(each.first_slot, each.slots)
            if place is None:
                break
            places.append(place)
        return places

    def _give_back(self, places: Sequence[int]) -> None:
        for place in places:
            self._slots.give_back(place)

    def _keep_slots(self, guess: Guess) -> None:
        for each, place in zip(guess.subjects, guess.places, strict=False):
            self._slots.keep(each.first_slot, place)

    def _locked(self, plan: Plan, counts: dict[str | None, int], first: int) -> LockedOut | None:
        for each in plan.subjects:
            began, unwritten = self._unwritten.get(each.key, (0, 0))
            if counts.get(each.key, 0) + (unwritten if began >= first else 0) >= each.limit:
                return LockedOut(each.reason)
        return None

    async def _reserve(self, guess: Guess) -> Guess | LockedOut:
        """Write it down as a failure before it is judged, if there is room."""
        deadline = self._clock.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await self._try_to_reserve(guess)
            except StateUnavailable:
                return guess
            if answer is not None:
                return answer
            # The last quarter is for those who have a slot, and they will soon be done.
            if self._clock.monotonic() >= deadline:
                return LockedOut("too many logins at once near the limit of failed ones")
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _try_to_reserve(self, guess: Guess) -> Guess | LockedOut | None:
        now, first, last = window(self.limits, self._clock.now())
        held: list[Subject] = []

        def change(connection: sqlite3.Connection) -> LockedOut | list[Subject] | None:
            filled = []
            for each in guess.subjects:
                count = count_of(connection, each.key, first, last)
                if count >= each.limit:
                    return LockedOut(each.reason)
                if count >= each.threshold:
                    if not self._slots.hold(each.first_slot, each.slots):
                        return None
                    held.append(each)
                if count + 1 == each.limit:
                    filled.append(each)
            for each in guess.subjects:
                add(connection, each.key, now)
            return filled

        def let_go(_: object) -> None:
            # After the commit: who takes a slot now, reads it.
            for each in held:
                self._slots.let_go(each.first_slot, each.slots)

        def abandon(answer: LockedOut | list[Subject] | None) -> None:
            if isinstance(answer, list):
                guess.slice = now
                guess.withdrawn()

        answer = await self._write(change, let_go, abandon)
        self._prune(now)
        if not isinstance(answer, list):
            return answer
        guess.slice = now
        guess.filled = answer
        return guess

    async def _write(
        self,
        change: Callable[[sqlite3.Connection], T],
        done: Callable[[object], None] | None = None,
        abandon: Callable[[T], None] | None = None,
    ) -> T:
        """Do *change*, also when nobody waits for it any more; *done* follows the commit, in the writer's thread."""
        future: Future[T] = self._database.submit(change)
        if done is not None:
            future.add_done_callback(done)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if abandon is not None:
                waiting.add_done_callback(lambda ended: abandon(ended.result()) if _is_good(ended) else None)
            raise

    def _keep_unwritten(self, guess: Guess, now: int, first: int) -> None:
        if len(self._unwritten) >= _UNWRITTEN_LIMIT:
            self._unwritten.clear()
        for each in guess.subjects:
            began, count = self._unwritten.get(each.key, (now, 0))
            self._unwritten[each.key] = (began, count + 1) if began >= first else (now, 1)

    async def _tell(self, filled: Sequence[Subject]) -> None:
        """Tell who is locked out: once in a window, over all workers."""
        if not filled:
            return
        now, first, last = window(self.limits, self._clock.now())

        def change(connection: sqlite3.Connection) -> list[Subject]:
            # What was taken back meanwhile may have made room.
            full = [each for each in filled if count_of(connection, each.key, first, last) >= each.limit]
            return [each for each in full if mark(connection, each.key, now, first, last)]

        try:
            locked = await self._write(change)
        except StateUnavailable:
            locked = list(filled)
        for each in locked:
            kind, value = named(each.key)
            self._emit(LoginsLocked(kind=kind, value=value, failures=each.limit, seconds=self.limits.window))

    def _prune(self, now: int) -> None:
        if now != self._pruned:
            self._pruned = now
            _, first, last = window(self.limits, self._clock.now())
            self._database.submit(lambda connection: prune(connection, first, last))
            self._homes.prune()


def _is_good(future: asyncio.Future[T]) -> bool:
    return not future.cancelled() and future.exception() is None


def _take_back(connection: sqlite3.Connection, guess: Guess) -> None:
    if guess.slice is not None:
        for each in guess.subjects:
            take_one(connection, each.key, guess.slice)
    if guess.has_failures_at_home:
        connection.execute("DELETE FROM guess WHERE subject = ?", (guess.subjects[-1].key,))
