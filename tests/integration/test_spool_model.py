"""A spool against a dictionary: whatever is done to both, in whatever order, they hold the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from contracts.spool_contract import PREFIX, SteppedClock, envelope, octets, read, settled
from gatepost.model.envelope import MessageId
from gatepost.spool.incoming import SqliteIncoming
from gatepost.spool.spool import Draft, Status
from gatepost.spool.sqlite import SqliteSpool

sizes = st.sampled_from([0, 1, 900, 1_000, 1_001, 50_000, 300_000, 700_000])


class SpoolMachine(RuleBasedStateMachine):
    """The dictionary is `model`: what each message holds, how often it was tried, and when it is due."""

    growing = Bundle("growing")

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-spool-"))
        self.clock = SteppedClock()
        self.model: dict[MessageId, tuple[bytes, int, float, tuple[Status, ...]]] = {}
        self.parts: dict[MessageId, bytes] = {}
        self.spool = self.open()

    def open(self) -> SqliteSpool:
        return SqliteSpool(self.folder, clock=self.clock, reserve_bytes=0, inline_bytes=1_000)

    @rule(target=growing)
    def begin(self) -> SqliteIncoming:
        async def begin() -> SqliteIncoming:
            return self.spool.begin()

        incoming = self.runner.run(begin())
        self.parts[incoming.id] = b""
        return incoming

    @rule(incoming=growing, size=sizes, seed=st.integers(0, 99), drain=st.booleans())
    def write(self, incoming: SqliteIncoming, size: int, seed: int, drain: bool) -> None:
        async def write() -> None:
            incoming.write(octets(size, seed))
            if drain:
                await incoming.drain()

        if incoming.id in self.parts:
            self.runner.run(write())
            self.parts[incoming.id] += octets(size, seed)

    @rule(incomings=st.lists(consumes(growing), max_size=4), due=st.floats(0, 1e9), recipients=st.integers(1, 6))
    def commit(self, incomings: list[SqliteIncoming], due: float, recipients: int) -> None:
        given = envelope(*[f"r{number}@example.net" for number in range(recipients)])
        live = [each for each in incomings if each.id in self.parts]

        async def commit() -> None:
            await asyncio.gather(*[each.commit(given, PREFIX, due=due) for each in live])

        self.runner.run(commit())
        for each in live:
            self.model[each.id] = PREFIX + self.parts.pop(each.id), 0, due, (Status.PENDING,) * recipients

    @rule(incoming=consumes(growing), turns=st.integers(0, 40), size=sizes)
    def commit_and_go_away(self, incoming: SqliteIncoming, turns: int, size: int) -> None:
        async def commit() -> None:
            incoming.write(octets(size))
            task = asyncio.ensure_future(incoming.commit(envelope(), PREFIX, due=1.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
            # Behind this one, the fate of the other is known.
            probe = await self.spool.put(Draft(envelope(), b"probe"))
            self.model[probe.id] = b"probe", 0, self.clock.time, (Status.PENDING,)

        if incoming.id in self.parts:
            self.runner.run(commit())
            whole = PREFIX + self.parts.pop(incoming.id) + octets(size)
            if self.spool.entry(incoming.id) is not None:
                self.model[incoming.id] = whole, 0, 1.0, (Status.PENDING,)

    @rule(incoming=growing)
    def abort(self, incoming: SqliteIncoming) -> None:
        async def abort() -> None:
            incoming.abort()

        self.runner.run(abort())
        self.parts.pop(incoming.id, None)

    # What is drawn must not hang on what is there: a commit nobody waits for may come out either way.
    @rule(
        target=growing,
        which=st.integers(0, 99),
        fates=st.lists(st.sampled_from(Status), min_size=6, max_size=6),
        bounces=st.integers(0, 2),
        due=st.floats(0, 1e9),
    )
    def settle(self, which: int, fates: list[Status], bounces: int, due: float) -> object:
        if self.model:
            name = sorted(self.model)[which % len(self.model)]
            content, attempts, _, states = self.model[name]
            states = tuple(fate if each is Status.PENDING else each for each, fate in zip(states, fates, strict=False))
            drafts = tuple(Draft(envelope(sender=None), b"bounce %d" % number) for number in range(bounces))
            entry = self.spool.entry(name)
            assert entry is not None
            receipts = self.runner.run(self.spool.settle(name, settled(entry, *states, due=due, bounces=drafts)))
            if Status.PENDING in states:
                self.model[name] = content, attempts + 1, due, states
            else:
                del self.model[name]
            for receipt, draft in zip(receipts, drafts, strict=True):
                self.model[receipt.id] = draft.content, 0, self.clock.time, (Status.PENDING,)
        return multiple()

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.spool.close())
        self.parts.clear()
        self.spool = self.open()
        assert self.spool.recovered.removed == 0
        assert self.spool.recovered.lost == ()

    @invariant()
    def they_agree(self) -> None:
        entries = self.spool.list(limit=10_000)
        assert [entry.id for entry in entries] == sorted(self.model)
        assert self.spool.count() == len(self.model)
        for entry in entries:
            content, attempts, due, states = self.model[entry.id]
            assert (entry.attempts, entry.due) == (attempts, due)
            assert tuple(each.status for each in entry.progress) == states
            assert self.spool.entry(entry.id) == entry
            assert self.runner.run(read(self.spool, entry.id)) == content
        order = sorted(self.model, key=lambda name: (self.model[name][2], name))
        assert self.spool.due(float("inf"), 10_000) == order
        assert self.spool.next_due() == (self.model[order[0]][2] if order else None)

    def teardown(self) -> None:
        self.runner.run(self.spool.close())
        self.runner.close()
        left = {path.name for path in (self.folder / "bodies").iterdir()}
        assert left == {name for name, (content, *_) in self.model.items() if len(content) > 1_000 + len(PREFIX)}
        shutil.rmtree(self.folder)


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
