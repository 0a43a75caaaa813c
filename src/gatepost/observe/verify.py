"""Check the chains of an audit trail: is every line there, in its order, as it was written?

What a chain shows: a line that was changed, removed, added or moved, from its begin to its last line but one.  The last
line of a chain is covered by the next chain of the same worker.  What nobody can show is that lines are missing at the
very end of the newest file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

__all__ = ["NOTHING_BEFORE", "Break", "Line", "Verdict", "parse_line", "verify"]

NOTHING_BEFORE: Final = "0" * 64
_BEGIN: Final = b'{"time":"'

Place = tuple[int, int]  # number of the file, number of the line


@dataclass(frozen=True, slots=True)
class Line:
    """What the chains are made of, in one line.

    Args:
        worker: number of the worker.
        chain: its name.
        number: place in the chain.
        previous: hash of the line before.
        digest: its own.
        tears: whether the writer found half a line, and says so here.
        has_rest: whether octets that are no line stood before it.
    """

    worker: int
    chain: str
    number: int
    previous: str
    digest: str
    tears: bool
    has_rest: bool


@dataclass(frozen=True, slots=True)
class Break:
    """A line at which a chain breaks.

    Args:
        file: name of the file.
        line: number in it, counted from 1.
        reason: what is wrong there.
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it.

    Args:
        lines: how many were read.
        chains: how many there are.
        continued: chains whose begin is in an older file, or gone.
        torn: halves of lines that a full disk or a kill left.
        first: the first break; None if there is none.
    """

    lines: int
    chains: int
    continued: int
    torn: int
    first: Break | None


def parse_line(octets: bytes) -> Line | None:
    """Read a line; None if it is none.  Half a line before it, without a newline, is passed over."""
    start = octets.rfind(_BEGIN)
    if start < 0:
        return None
    whole = octets[start:]
    try:
        data = json.loads(whole)
        worker, chain, number, previous = (data[name] for name in ("worker", "chain", "number", "previous"))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if type(worker) is not int or type(chain) is not str or type(number) is not int or type(previous) is not str:
        return None
    return Line(
        worker, chain, number, previous, sha256(whole).hexdigest(), data.get("torn") is True, has_rest=start > 0
    )


class _Chains:
    """The chains so far, and where they break."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[Line, Place]] = {}
        self.newest: dict[int, str] = {}
        self.continued = 0
        self.breaks: list[tuple[Place, str]] = []

    def add(self, line: Line, place: Place, name: str) -> None:
        """Take the next line, at *place* in the file *name*."""
        if line.chain not in self.last:
            reason = self._begin(line)
            self.newest[line.worker] = line.chain
        else:
            reason = self._follow(line, f"{name}:{place[1]}")
        if reason:
            self.breaks.append((place, reason))
        self.last[line.chain] = line, place

    def _begin(self, line: Line) -> str:
        if line.worker not in self.newest:
            self.continued += line.number != 1 or line.previous != NOTHING_BEFORE
            return ""
        if line.number != 1:
            return f"is number {line.number} of a chain that has no begin"
        before, place = self.last[self.newest[line.worker]]
        if line.previous not in (before.digest, NOTHING_BEFORE):
            self.breaks.append((place, "was changed, or lines of its chain are missing after it"))
        return ""

    def _follow(self, line: Line, here: str) -> str:
        last, place = self.last[line.chain]
        if line.number == last.number and line.digest == last.digest:
            return "stands twice"
        if line.number != last.number + 1:
            return f"is number {line.number} of its chain, but the one before it is number {last.number}"
        if line.worker != last.worker:
            return f"is said to be of worker {line.worker}, but its chain is of worker {last.worker}"
        if line.previous != last.digest:
            self.breaks.append((place, f"was changed: its hash is another one in {here}, the next of its chain"))
        # A worker whose begin was changed is not known by it.
        return (
            "" if self.newest.get(line.worker, line.chain) == line.chain else "comes after the begin of a later chain"
        )


def verify(files: Iterable[tuple[str, Iterable[bytes]]]) -> Verdict:
    """Check the lines of *files*, each a name and its lines, the oldest file first."""
    chains = _Chains()
    names: list[str] = []
    count = torn = 0
    halves: list[Place] = []
    for name, lines in files:
        names.append(name)
        for number, octets in enumerate(lines, 1):
            place = len(names) - 1, number
            count += 1
            line = parse_line(octets.removesuffix(b"\n"))
            if line is None or line.has_rest:
                torn += 1
                halves.append(place)
            if line is None:
                continue
            if line.tears and halves:
                halves.pop()  # whoever wrote or found it says so in the line after it
            chains.add(line, place, name)
    chains.breaks += [(place, "is not a whole line of an audit trail") for place in halves]
    first = None
    if chains.breaks:
        (file, number), reason = min(chains.breaks)
        first = Break(names[file], number, reason)
    return Verdict(count, len(chains.last), chains.continued, torn, first)
