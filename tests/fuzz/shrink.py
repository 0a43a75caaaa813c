"""Makes a dialog that shows something shorter, as long as it shows it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from fuzz.dialogs import Dialog

__all__ = ["shrink"]


async def shrink(made: Dialog, shows: Callable[[Dialog], Awaitable[bool]], *, seconds: float) -> Dialog:
    """Return the shortest form of *made* that was found in so many seconds."""
    deadline = time.monotonic() + seconds
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for tried in _shorter(made):
            if time.monotonic() > deadline:
                return made
            if await shows(tried):
                made, is_shorter = tried, True
                break
    return made


def _shorter(made: Dialog) -> Iterator[Dialog]:
    """Give forms of it that say less: without the part in TLS, cuts, halves, lines, octets."""
    if made.inside:
        yield replace(made, inside=b"")
    if made.cuts:
        yield replace(made, cuts=())
        if len(made.cuts) > 1:
            for cut in made.cuts:
                yield replace(made, cuts=tuple(each for each in made.cuts if each != cut))
    lines = made.hostile.splitlines(keepends=True)
    for size in (len(lines) // 2, len(lines) // 4, 1):
        for start in range(0, len(lines), size or 1):
            yield made.with_hostile(b"".join(lines[:start] + lines[start + (size or 1) :]))
    for size in (4096, 256, 16, 1):
        if size < len(made.hostile):
            for start in range(0, len(made.hostile), size):
                yield made.with_hostile(made.hostile[:start] + made.hostile[start + size :])
