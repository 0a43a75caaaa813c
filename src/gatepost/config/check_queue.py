"""See whether times and rules of the queue have an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.schema import Config

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_queue"]


def check_queue(config: Config, findings: Findings) -> None:
    """Look at the times, and at each rule."""
    queue = config.queue
    if "delay_notice" in queue.model_fields_set and queue.delay_notice >= queue.give_up_after:
        findings.wrong(
            ("queue", "delay_notice"),
            'has no effect, for mail is given up before (queue.give_up_after); write a shorter time, or "0s"',
        )
    if "attempts_per_route" in queue.model_fields_set and queue.attempts_per_route > queue.attempts_at_once:
        findings.wrong(("queue", "attempts_per_route"), "has no effect above attempts_at_once; lower it, or remove it")
    accounts: set[str] = set()
    credentials: set[str] = set()
    for number, rule in enumerate(config.queue.rule):
        key: Key = ("queue", "rule", number)
        if not rule.accounts and not rule.credentials:
            findings.wrong(key, "is about nobody; name accounts or credentials, or write it in [queue] or a [[route]]")
        elif accounts.issuperset(rule.accounts) and credentials.issuperset(rule.credentials):
            findings.wrong(key, "is never reached: rules before it name the same accounts and credentials; remove it")
        elif not rule.model_fields_set & {"priority", "retry", "give_up_after"}:
            findings.wrong(key, "says nothing; add priority, retry or give_up_after")
        accounts.update(rule.accounts)
        credentials.update(rule.credentials)
