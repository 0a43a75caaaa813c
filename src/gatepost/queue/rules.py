"""Which mail is handled in a way of its own: how urgent it is, when it is tried again, and when it is given up.

The first rule for an account or credential is asked, then the route, then what holds for all mail; each for what the
one before leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gatepost.model.envelope import Envelope
from gatepost.model.priority import Priority
from gatepost.queue.retry import Schedule

__all__ = ["Patience", "Rule", "Rules"]


@dataclass(frozen=True, slots=True)
class Patience:
    """A schedule, or part of one.

    Args:
        waits: waits between attempts; None leaves them open.
        give_up_after: age at which a recipient fails; None leaves it open.
    """

    waits: tuple[timedelta, ...] | None = None
    give_up_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the mail of some accounts or credentials.

    Args:
        accounts: logins.
        credentials: ids or labels.
        priority: how urgent their mail is.
        patience: when it is tried again and given up.
    """

    accounts: frozenset[str] = frozenset()
    credentials: frozenset[str] = frozenset()
    priority: Priority = Priority.NORMAL
    patience: Patience = Patience()

    def matches(self, envelope: Envelope) -> bool:
        """Tell whether it is about this message."""
        # Our own notifications have neither.
        return (bool(envelope.account) and envelope.account in self.accounts) or (
            bool(envelope.credential)
            and (envelope.credential in self.credentials or envelope.label in self.credentials)
        )


class Rules:
    """The rules, in their order.

    Args:
        usual: what holds where nothing else does.
        rules: for accounts and credentials.
        routes: for routes, by name.
    """

    def __init__(
        self, usual: Schedule, rules: Sequence[Rule] = (), routes: Mapping[str, Patience] | None = None
    ) -> None:
        self._usual = usual
        self._rules = tuple(rules)
        self._routes = {name: each for name, each in (routes or {}).items() if each != Patience()}
        self._made: dict[tuple[Patience, ...], Schedule] = {}

    def priority(self, envelope: Envelope) -> Priority:
        """Return how urgent a message is."""
        if self._rules:
            for rule in self._rules:
                if rule.matches(envelope):
                    return rule.priority
        return Priority.NORMAL

    def of(self, envelope: Envelope, route: str) -> Schedule:
        """Return when a message is tried again on a route, and when it is given up."""
        if not self._rules and not self._routes:
            return self._usual
        key = (
            next((rule.patience for rule in self._rules if rule.matches(envelope)), Patience()),
            self._routes.get(route, Patience()),
        )
        schedule = self._made.get(key)
        if schedule is None:
            waits = next((each.waits for each in key if each.waits is not None), self._usual.waits)
            give_up = next(
                (each.give_up_after for each in key if each.give_up_after is not None), self._usual.give_up_after
            )
            # As many as there are pairs of a rule and a route.
            schedule = self._made[key] = Schedule(waits, give_up, self._usual.delay_notice)
        return schedule
