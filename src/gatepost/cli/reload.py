"""``gatepost reload``: let the running server go on with the configuration as it is now."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.node import ask_workers, is_running
from gatepost.cli.options import config_path_option, json_option
from gatepost.cli.output import Told, print_row, remark
from gatepost.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["reload"]

_TURN_SECONDS = 0.05


@click.command()
@click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for all workers.",
)
@config_path_option
@json_option
def reload(config_path: Path, timeout: float, as_json: bool) -> None:
    """Take up a changed configuration or certificate, without a break.

    The configuration is checked first, as `gatepost check` does; if it is wrong, the server is not asked.  Sessions
    that are open keep what they began with.  Exits with 0 once every worker goes on with the new configuration, and
    with 1, and the reasons, if one of them does not.

    Listeners' names, addresses, ports and tls, workers, state_dir and what [observe] and [admin] say take effect at
    the next start only; those that changed are named.
    """
    config = _checked(config_path)
    if not is_running(config.state_dir):
        raise Told(f"no server runs with {config.state_dir}; there is nothing to reload")
    answers = ask_workers(config, {"verb": "expect-reload"})
    problems = [str(answer) for answer in answers.values() if isinstance(answer, Unavailable)]
    before = {number: answer[0] for number, answer in answers.items() if not isinstance(answer, Unavailable)}
    _signal(config, {row["parent"] for row in before.values()})
    generations = {number: row["generation"] for number, row in before.items()}
    reloaded, refused, waits = _wait(config, generations, timeout)
    problems += refused
    if as_json:
        facts = {"ok": not problems, "reloaded": reloaded, "problems": problems, "waits_for_restart": waits}
        print_row(facts, as_json=True)
    else:
        for number, generation in reloaded.items():
            click.echo(f"worker {number}: generation {generation}")
        for line in (*waits, *problems):
            remark(line)
    raise SystemExit(1 if problems else 0)


def _checked(config_path: Path) -> Config:
    from gatepost.config.check import check
    from gatepost.config.load import load

    try:
        config = load(config_path, os.environ)
        problems = check(config).problems
    except ConfigError as error:
        raise Told(str(error)) from None
    if problems:
        raise Told("\n".join(problems))
    return config


def _signal(config: Config, parents: set[int]) -> None:
    from gatepost.state.lock import owner

    if not parents:
        raise Told("no worker answers, so nothing was reloaded; see the log")
    # The lock outlives the parent, and its number may belong to somebody else by then.
    parent = owner(config.state_dir)
    if parent is None or parents != {parent}:
        raise Told("the parent process of the server is gone; its workers come to their end: start it again")
    try:
        os.kill(parent, signal.SIGHUP)
    except OSError as error:
        raise Told(f"process {parent} cannot be told: {error.strerror}; run this as root or as its user") from None


def _wait(config: Config, before: dict[int, int], timeout: float) -> tuple[dict[int, int], list[str], list[str]]:
    """Wait until every worker has reloaded or refused.

    Returns the new generations, what is wrong, and what changed and waits for the next start.
    """
    deadline = time.monotonic() + timeout
    missing = dict(before)
    reloaded: dict[int, int] = {}
    refusals: dict[int, str] = {}
    waits: dict[str, None] = {}
    while missing and time.monotonic() < deadline:
        time.sleep(_TURN_SECONDS)
        for number, answer in ask_workers(config, {"verb": "status"}).items():
            if number not in missing or isinstance(answer, Unavailable):
                continue
            row: dict[str, Any] = answer[0]
            if row["reload_error"]:
                refusals[number] = row["reload_error"]
            elif row["generation"] != before[number]:
                reloaded[number] = row["generation"]
                waits |= dict.fromkeys(row["waits_for_restart"])
            else:
                continue
            del missing[number]
    # All of them say the same of a configuration that is wrong.
    told = list(dict.fromkeys(refusals.values()))
    told += [f"worker {number} has not reloaded within {timeout:g} seconds" for number in missing]
    return reloaded, told, list(waits)
