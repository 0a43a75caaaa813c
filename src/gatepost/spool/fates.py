"""What became of changes: who waits for them hears of it, what was remembered is forgotten, files of bodies go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatepost.model.envelope import MessageId
from gatepost.spool.body import BodyFolder
from gatepost.spool.change import Change, Fate
from gatepost.spool.recent import Recent
from gatepost.spool.room import Room
from gatepost.spool.turns import Turns

__all__ = ["Fates"]


class Fates:
    """Takes note of each batch that the writer is done with, in the loop.

    Args:
        recent: what is remembered.
        turns: who changes which message.
        room: how much space there is.
        bodies: the files.
        say: hears of trouble, once until it is over.

    Attributes:
        count: how many messages lie in the spool.
    """

    def __init__(
        self, recent: Recent, turns: Turns, room: Room, bodies: BodyFolder, say: Callable[[str], None]
    ) -> None:
        self.count = 0
        self._recent = recent
        self._turns = turns
        self._room = room
        self._bodies = bodies
        self._say = say
        self._doubtful: list[MessageId] = []
        self._in_trouble = False

    def tell(self, changes: Sequence[Change]) -> None:
        """Take note of a batch."""
        gone: list[MessageId] = []
        if self._doubtful and any(change.fate is Fate.WRITTEN for change in changes):
            # A later commit has taken the place of the doubtful ones in the log.
            gone, self._doubtful = self._doubtful, []
        for change in changes:
            if change.changed:
                self._recent.forget(change.changed)
                self._turns.give(change.changed)
            if change.fate is Fate.WRITTEN:
                self.count += len(change.messages) - len(change.removed)
                if change.messages:
                    for (entry, file_bytes), (_, octets) in zip(change.entries, change.contents, strict=True):
                        self._room.take(2 * len(octets))
                        self._recent.remember_new(entry, file_bytes, octets)
                if change.finished_body is not None:
                    gone.append(change.finished_body)
            elif change.body is not None:
                (self._doubtful if change.fate is Fate.DOUBTFUL else gone).append(change.body)
            error = change.error
            if change.future.done():
                continue
            if error is None:
                change.future.set_result(None)
            else:
                # One of its own for each caller: a traceback grows as it is raised.
                change.future.set_exception(type(error)(*error.args))
        if gone:
            self._bodies.remove(*gone)
        error = next((change.error for change in changes if change.error is not None), None)
        if error is not None and not self._in_trouble:
            self._say(str(error))
        self._in_trouble = error is not None
