"""``gatepost queue hold | release | retry | redirect | drop``: change the mail that waits, with a server or without."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gatepost.cli.node import act_as_owner, ask_workers, check_state_dir, is_running, lock_if_stopped
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark
from gatepost.cli.queue_select import Filters, matching, selection_options

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["drop", "hold", "redirect", "release", "retry"]

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = {"hold": "held", "release": "released", "retry": "retried", "redirect": "redirected", "drop": "dropped"}
_REASONS = {
    "unknown": "is not in the queue, or not any more",
    "held": "is on hold: release it to have it tried",
    "not held": "is not on hold",
    "in flight": "is being delivered right now; hold it, and try again when that attempt is over",
    "unchanged": "has no such recipient that is still waiting",
    "sandbox": "must stay in the sandbox, whatever the routes say",
    "unreadable": "cannot be read, so its sender cannot be told; drop it with --silent",
    "failed": "the spool cannot be read or written now; see the log of the server",
}
_NEEDED_OFFLINE = (
    "gatepost.app",
    "gatepost.message.dkim_key",
    "gatepost.queue.control",
    "gatepost.spool.layout",
    "gatepost.state.lock",
)
_HARMLESS = frozenset({"held", "not held"})


def _change(command: F) -> F:
    """Add what the four verbs have in common."""
    command = config_option(json_option(command))
    return click.option("-n", "--dry-run", is_flag=True, help="Say which messages are meant; change nothing.")(command)


@click.command()
@selection_options("--all", "Every message.")
@_change
def hold(config: Config, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Keep messages from being tried until they are released.

    What is on its way already is not called back: the message stays on hold once that attempt is over.  Mail on hold
    grows older all the same.
    """
    _run(config, "hold", Filters(option="--all", **filters), dry_run, as_json)


@click.command()
@selection_options("--all-held", "Every message on hold.")
@_change
def release(config: Config, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Let messages on hold be tried again, at once."""
    _run(config, "release", Filters(option="--all-held", **filters), dry_run, as_json)


@click.command()
@selection_options("--all", "Every message that is not on hold.")
@_change
def retry(config: Config, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Try messages now instead of when they are due.

    Their routes are tried too, even if they failed a moment ago; not those that are paused by hand.
    """
    _run(config, "retry", Filters(option="--all", **filters), dry_run, as_json)


@click.command()
@selection_options("--all-held", "Every message on hold.")
@click.option(
    "--bounce/--silent",
    default=True,
    show_default=True,
    help="Tell the sender of each message that it was not delivered, or tell nobody.",
)
@_change
def drop(config: Config, bounce: bool, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Remove messages from the queue; recipients that still wait do not get them.

    A message that is being delivered right now is left alone.
    """
    _run(config, "drop", Filters(option="--all-held", **filters), dry_run, as_json, silent=not bounce)


@click.command()
@selection_options("--all", "Every message.")
@click.option(
    "--to", metavar="ADDRESS", help="Who gets it instead of those still waiting; instead of --recipient, if given."
)
@click.option("--to-route", default="", metavar="NAME", help="The route that it takes, whatever the routes match.")
@_change
def redirect(config: Config, to: str | None, to_route: str, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Send messages to another recipient, or by another route, at once unless they are on hold.

    Recipients who have it already are not touched.  A message that is being delivered right now is left alone.  A route
    holds for the message as long as there is one of that name.
    """
    _run(
        config,
        "redirect",
        Filters(option="--all", **filters),
        dry_run,
        as_json,
        where=_where(config, to, to_route, filters),
    )


def _where(config: Config, to: str | None, to_route: str, filters: dict[str, Any]) -> dict[str, str]:
    """Return where messages go instead, as workers are told."""
    from gatepost.errors import Malformed
    from gatepost.model.address import parse_mailbox

    if not to and not to_route:
        raise click.UsageError("Say where to: --to ADDRESS, --to-route NAME, or both.")
    names = [each.name for each in config.route]
    if to_route and to_route not in names:
        raise click.BadParameter(f"{to_route} is no route; these are: {', '.join(names)}", param_hint="--to-route")
    where = {"route": to_route}
    recipient = filters["recipient"]
    for option, key, address in (("--to", "to", to), ("--recipient", "recipient", recipient if to else None)):
        if address is None:
            continue
        try:
            parse_mailbox(address)
        except Malformed as error:
            raise click.BadParameter(f"{error}; write name@domain", param_hint=option) from None
        where[key] = address
    return where


def _run(
    config: Config,
    change: str,
    filters: Filters,
    dry_run: bool,
    as_json: bool,
    *,
    silent: bool = False,
    where: dict[str, str] | None = None,
) -> None:
    if filters.is_empty:
        raise click.UsageError(f"Name at least one message, or use {filters.option}, --from, --recipient or --account.")
    held = {"hold": False, "release": True, "retry": False}.get(change)
    check_state_dir(config.state_dir)
    wanted = matching(config, filters, held)
    if dry_run:
        rows = [{"id": each, "outcome": "matches"} for each in wanted]
    else:
        rows = list(_apply(config, wanted, {"change": change, "silent": silent, **(where or {})}))
    done = [row for row in rows if row["outcome"] in ("done", "matches")]
    if as_json:
        print_rows(rows, ("id", "outcome"), as_json=True)
    else:
        for row in done:
            click.echo(row["id"])
    reasons = _REASONS | ({"held": "is on hold already"} if change == "hold" else {})
    for row in rows:
        if row["outcome"] in reasons:
            remark(f"{row['id']}: {reasons[row['outcome']]}")
    remark(f"{'would be ' if dry_run else ''}{_WORDS[change]}: {len(done)}")
    is_good = all(row["outcome"] in _HARMLESS for row in rows if row not in done)
    raise SystemExit(0 if done and is_good else 1)


def _apply(config: Config, wanted: Iterator[str], order: dict[str, Any]) -> Iterator[dict[str, str]]:
    if not is_running(config.state_dir):
        for module in _NEEDED_OFFLINE:
            importlib.import_module(module)
        act_as_owner(config.state_dir)
    lock = lock_if_stopped(config.state_dir)
    if lock is None:
        yield from _by_workers(config, wanted, order)
        return
    try:
        yield from asyncio.run(_by_files(config, list(wanted), order))
    finally:
        lock.release()


def _by_workers(config: Config, wanted: Iterator[str], order: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Hand them to the workers, some at a time; each of them knows only its own."""
    from gatepost.control.protocol import IDS_LIMIT
    from gatepost.errors import Unavailable
    from gatepost.spool.message_id import is_message_id

    silence: dict[int, str] = {}
    while batch := list(islice(wanted, IDS_LIMIT)):
        request = order | {"verb": "queue", "ids": [*filter(is_message_id, batch)]}
        outcomes = dict.fromkeys(batch, "unknown")
        try:
            answers = ask_workers(config, request, changes=True)
        except Told as error:  # it ended meanwhile: what was done so far must be told all the same
            answers = {-1: Unavailable(str(error))}
        for number, answer in answers.items():
            if isinstance(answer, Unavailable):
                silence[number] = str(answer)
                continue
            outcomes |= {row["id"]: row["outcome"] for row in answer if row["outcome"] != "unknown"}
        for name, outcome in outcomes.items():
            # It may well be there, with one who does not answer.
            yield {"id": name, "outcome": "no answer" if outcome == "unknown" and silence else outcome}
    for trouble in silence.values():
        remark(f"{trouble}; what it has was not changed")


async def _by_files(config: Config, wanted: Sequence[str], order: dict[str, Any]) -> list[dict[str, str]]:
    """Open one spool after the other, as a server would."""
    from gatepost.app import RealClock
    from gatepost.message.signer import Signer
    from gatepost.model.envelope import MessageId
    from gatepost.parts import signing
    from gatepost.queue.control import Change, Outcome, QueueControl
    from gatepost.queue.redirect import redirect_of
    from gatepost.queue_parts import queue_rules
    from gatepost.spool.layout import folders
    from gatepost.spool.message_id import is_message_id
    from gatepost.spool.sqlite import SqliteSpool

    clock = RealClock()
    rules, signer = queue_rules(config), Signer(clock, *signing(config))
    outcomes = dict.fromkeys(map(MessageId, wanted), Outcome.UNKNOWN)
    for folder in folders(config.spool_dir):
        missing = [name for name, outcome in outcomes.items() if outcome is Outcome.UNKNOWN]
        if not missing:
            break
        spool = SqliteSpool(folder, clock=clock, inline_bytes=config.spool.inline_bytes, priority=rules.priority)
        control = QueueControl(
            spool, None, hostname=config.hostname, clock=clock, emit=lambda _event: None, signer=signer
        )
        try:
            for name in filter(is_message_id, missing):
                outcomes[name] = await control.apply(
                    Change(order["change"]), name, silent=order["silent"], redirect=redirect_of(order)
                )
        finally:
            await spool.close()
    return [{"id": name, "outcome": outcome.value} for name, outcome in outcomes.items()]
