"""Which mechanisms work on which listener now, by what the stores hold: looked at when a store has changed.

A mechanism that needs a verifier of its own is on offer only where every standing credential that may come in has one:
clients that prefer it rarely fall back to another.  With no credential at all every mechanism is on offer.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.identity.store import Survey, Work
from gatepost.identity.stores.order import StoresInOrder
from gatepost.model.clock import Clock
from gatepost.sasl.mechanism import Mechanism, Needs

__all__ = ["Offer"]

T = TypeVar("T")


class Offer:
    """What is on offer, and what real accounts look like on the whole.

    Args:
        stores: all of them.
        clock: what time it is.
        mechanisms: those that are on, by name of the listener, in the order EHLO shows them.
        has_tokens: whether an access token can be judged.

    Attributes:
        iterations: how many accounts have which SCRAM iteration count.
        work: how many accounts take which work.
    """

    def __init__(
        self,
        stores: StoresInOrder,
        clock: Clock,
        mechanisms: Mapping[str, Sequence[Mechanism]],
        *,
        has_tokens: bool,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._mechanisms = {
            listener: tuple(each for each in those if has_tokens or each.needs is not Needs.TOKEN)
            for listener, those in mechanisms.items()
        }
        self._surveys: dict[int, Survey] = {}
        self._offered = self._mechanisms
        self.iterations: Mapping[int, int] = {}
        self.work: Mapping[Work, int] = {}

    def on(self, listener: str) -> tuple[Mechanism, ...]:
        """Return what is on offer on *listener*."""
        return self._offered.get(listener, ())

    async def refresh(self) -> bool:
        """Look at the stores that have changed; what was known of one that is away holds on.

        Returns:
            Whether a login that counted may not count any more: a store has changed, or a credential expired.
        """
        now = self._clock.now()
        looked = changed = False
        for number, store in enumerate(self._stores):
            known = self._surveys.get(number)
            try:
                if known is None or _is_over(known, now) or await store.has_changed():
                    changed = True
                    self._surveys[number] = await store.survey(now)
                    looked = True
            except StoreUnavailable as error:
                self._stores.is_away(number, error)
            else:
                self._stores.is_back(number)
        if looked:
            self._settle()
        return changed

    def _settle(self) -> None:
        surveys = self._surveys.values()
        self.iterations = _sum(each.iterations for each in surveys)
        self.work = _sum(each.work for each in surveys)
        self._offered = {
            listener: tuple(each for each in those if self._works(each, listener))
            for listener, those in self._mechanisms.items()
        }

    def _works(self, mechanism: Mechanism, listener: str) -> bool:
        if not mechanism.needs.is_verifier:
            return True
        scheme = mechanism.needs.value
        lacking = (listeners for survey in self._surveys.values() for listeners in survey.lacking.get(scheme, ()))
        return all(listeners and listener not in listeners for listeners in lacking)


def _is_over(survey: Survey, now: float) -> bool:
    return survey.next_expiry is not None and now >= survey.next_expiry


def _sum(counts: Iterable[Mapping[T, int]]) -> Mapping[T, int]:
    total: collections.Counter[T] = collections.Counter()
    for each in counts:
        total.update(each)
    return total
