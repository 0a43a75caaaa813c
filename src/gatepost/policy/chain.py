"""Ask policies in order, and stop at the first no."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.model.envelope import Transaction
from gatepost.model.verdict import ACCEPT, Accept, Hold, Refuse, Verdict
from gatepost.policy.policy import Policy, Stage

__all__ = ["Chain"]


class Chain:
    """Policies, in the order in which they are asked.

    Args:
        policies: all of them; each is asked at its own stage.

    Attributes:
        is_immediate: whether none of them waits for anybody before it judges.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        ordered = tuple(policies)
        self.is_immediate = not any(getattr(each, "waits", False) for each in ordered)
        self._undoing = tuple(undo for each in ordered if (undo := getattr(each, "undo", None)) is not None)
        self._checks = {stage: tuple([each.check for each in ordered if each.stage is stage]) for stage in Stage}

    async def check(self, stage: Stage, transaction: Transaction) -> Verdict:
        """Ask the policies of *stage*: the first refusal counts, otherwise the first hold, otherwise accept."""
        accept = ACCEPT
        verdict: Verdict = accept
        for check in self._checks[stage]:
            answer = check(transaction)
            if answer is accept:
                continue
            if not isinstance(answer, (Accept, Refuse, Hold)):
                answer = await answer
            if isinstance(answer, Refuse):
                return answer
            if isinstance(answer, Hold) and verdict is accept:
                verdict = answer
        return verdict

    def undo(self, transaction: Transaction) -> None:
        """Let the policies return what they took for *transaction*, whose message could not be kept."""
        for undo in self._undoing:
            undo(transaction)
