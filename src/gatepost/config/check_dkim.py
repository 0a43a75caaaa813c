"""See whether mail can be signed as configured: keys that are missing, cannot be read, or are never used."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gatepost.config.schema import Config
from gatepost.errors import ConfigError
from gatepost.state.signing_keys import read_keys

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_dkim"]


def check_dkim(config: Config, findings: Findings) -> None:
    """Look at the keys of all domains, and at what ``[dkim]`` says of them."""
    dkim = config.dkim
    try:
        keys = read_keys(config.state_dir)
    except ConfigError as error:
        findings.problems += error.problems
        return
    for number, domain in enumerate(dkim.domains or ()):
        if domain not in keys:
            findings.wrong(("dkim", "domains", number), f'"{domain}" has no key; run: gatepost dkim add {domain}')
    for domain, stored in keys.items():
        if dkim.domains is not None and domain not in dkim.domains:
            findings.odd(("dkim", "domains"), f'lacks "{domain}", which has a key; its mail goes out unsigned')
        elif all(each.signs_from is None for each in stored):
            findings.odd(
                ("dkim", "domains"),
                f'"{domain}" has keys, and none of them signs yet; run: gatepost dkim rotate {domain} --switch',
            )
    if findings.is_written(("dkim", "keep_records")) and not keys:
        findings.odd(("dkim", "keep_records"), "has no effect without a key; run: gatepost dkim add DOMAIN")
    elif dkim.keep_records < _longest_wait(config):
        findings.odd(
            ("dkim", "keep_records"),
            "is below the longest give_up_after; mail that waits longer would arrive after its record is gone",
        )


def _longest_wait(config: Config) -> dt.timedelta:
    """Return for how long mail may be tried, by whatever rule or route."""
    waits = [each.give_up_after for each in (*config.queue.rule, *config.route)]
    return max([config.queue.give_up_after, *[each for each in waits if each is not None]])
