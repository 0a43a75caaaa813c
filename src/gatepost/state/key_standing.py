"""Where each DKIM key of a domain stands at a moment: waiting, signing, retired, over; it follows from their times."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from gatepost.state.signing_keys import StoredKey

__all__ = ["KeyState", "Standing", "new_selector", "standings"]


class KeyState(enum.Enum):
    """What a key is good for."""

    WAITING = "waiting"  # its record can be published; it does not sign yet
    SIGNS = "signs"
    RETIRED = "retired"  # another signs; mail that it signed may be under way
    OVER = "over"  # nobody asks for its record any more


@dataclass(frozen=True, slots=True)
class Standing:
    """A key at a moment.

    Args:
        key: which one.
        state: what it is good for.
        keep_until: until when its record must stay in the DNS, in seconds since the epoch; None as long as it signs
            or will sign.
    """

    key: StoredKey
    state: KeyState
    keep_until: float | None = None


def standings(keys: Sequence[StoredKey], now: float, keep_seconds: float) -> list[Standing]:
    """Return where *keys* of one domain stand, in their order.

    Args:
        keys: all of them.
        now: the moment, seconds since the epoch.
        keep_seconds: how long a record must stay after another key has taken over.
    """
    return [_standing(each, keys, now, keep_seconds) for each in keys]


def _standing(key: StoredKey, keys: Sequence[StoredKey], now: float, keep_seconds: float) -> Standing:
    since = key.signs_from
    if since is None or since > now:
        return Standing(key, KeyState.WAITING)
    # Of two with the same time the later one in the file signs, as `gatepost.message.signer` has it.
    place = keys.index(key)
    followers = [
        each.signs_from
        for number, each in enumerate(keys)
        if each.kind == key.kind and each.signs_from is not None and (since, place) < (each.signs_from, number)
    ]
    replaced = min((moment for moment in followers if moment <= now), default=None)
    if replaced is None:
        return Standing(key, KeyState.SIGNS)
    keep_until = replaced + keep_seconds
    return Standing(key, KeyState.RETIRED if now < keep_until else KeyState.OVER, keep_until)


def new_selector(kind: str, day: str, taken: Sequence[StoredKey]) -> str:
    """Return a selector for a key of *kind* made on *day* (such as 20261121) that none of *taken* has."""
    names = {each.selector.lower() for each in taken}
    number = 1
    while (name := f"gp{day}{kind}" if number == 1 else f"gp{day}-{number}{kind}") in names:
        number += 1
    return name
