"""``gatepost queue``: look at the mail that waits, beside the running server or without one; change it."""

from __future__ import annotations

import datetime as dt
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.group import Group
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_row, print_rows, printable, remark
from gatepost.cli.queue_change import drop, hold, redirect, release, retry
from gatepost.cli.queue_select import Filters, content_of, filter_options, found

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.relay.known_replies import KnownReplies
    from gatepost.spool.spool import Entry

__all__ = ["queue"]

_LIST = ("id", "accepted", "size", "sender", "recipients", "pending", "attempts", "due", "held")
_RECIPIENT = ("recipient", "status", "attempts", "at", "next_hop", "reply", "remedy")


@click.group(cls=Group)
def queue() -> None:
    """Show and change the mail that waits."""


for _verb in (hold, release, retry, redirect, drop):
    queue.add_command(_verb)


@queue.command("list")
@filter_options
@click.option("--held/--not-held", default=None, help="Only mail on hold, or only mail that is not.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@config_option
@json_option
def list_entries(config: Config, held: bool | None, limit: int, as_json: bool, **filters: Any) -> None:
    """List waiting messages, the oldest first."""
    entries = list(islice(found(config, Filters(**filters).selection(held)), limit + 1))
    print_rows([_row(entry) for entry in entries[:limit]], _LIST, as_json)
    if len(entries) > limit:
        remark(f"… and more than these {limit}; see --limit")
    elif not entries and not config.spool_dir.exists():
        remark(f"{config.spool_dir} does not exist: no server has run with this configuration yet")


@queue.command()
@click.argument("message_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Print the message itself, as it will be relayed, and nothing else.")
@config_option
@json_option
def show(config: Config, message_id: str, raw: bool, as_json: bool) -> None:
    """Show one message: its envelope, how far each recipient is, and its header."""
    if raw:
        for piece in content_of(config, message_id):
            sys.stdout.buffer.write(piece)
        return
    from gatepost.model.priority import Priority
    from gatepost.spool.lane import level_of

    entry = next(found(config, Filters((message_id,)).selection(None)), None)
    if entry is None:
        raise Told(f"{message_id} is not in the queue; it may be delivered or bounced by now: see the log")
    known = _known(config)
    recipients = [
        {
            "recipient": str(each.recipient),
            "status": each.status.value,
            "attempts": each.attempts,
            "at": _time(each.at),
            "next_hop": each.next_hop or None,
            "reply": each.reply or None,
            "remedy": known.remedy(each.reply) or None,
        }
        for each in entry.progress
    ]
    header = b"".join(content_of(config, message_id, only_header=True)).decode("utf-8", "backslashreplace")
    envelope = entry.envelope
    facts = _row(entry) | {
        "stalled_seconds": round(entry.stalled),
        "account": envelope.account or None,
        "credential": envelope.credential or None,
        "priority": Priority(level_of(entry.lane)).name.lower(),
        "route": envelope.route or None,
        "body": envelope.body.value,
        "smtputf8": envelope.smtputf8,
        "sandbox": envelope.sandbox,
    }
    if as_json:
        print_row(facts | {"recipients": recipients, "header": header}, as_json=True)
        return
    print_row(facts, as_json=False)
    click.echo()
    print_rows(recipients, _RECIPIENT, as_json=False)
    click.echo()
    for line in header.rstrip("\r\n").split("\r\n"):
        click.echo(printable(line.expandtabs()))


def _known(config: Config) -> KnownReplies:
    """Return what is known of the replies of all providers in use."""
    from gatepost.relay.known_replies import KnownReplies

    presets = [each.preset for each in config.route if each.transport == "smarthost"]
    return KnownReplies([reply for preset in presets if preset is not None for reply in preset.replies])


def _row(entry: Entry) -> dict[str, Any]:
    from gatepost.spool.spool import Status

    envelope = entry.envelope
    return {
        "id": entry.id,
        "accepted": _time(entry.accepted_at),
        "size": envelope.size_bytes,
        "sender": "<>" if envelope.reverse_path is None else str(envelope.reverse_path),
        "recipients": len(envelope.recipients),
        "pending": sum(each.status is Status.PENDING for each in entry.progress),
        "attempts": entry.attempts,
        "due": _time(entry.due),
        "held": entry.is_held,
    }


def _time(seconds: float) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(round(seconds), dt.UTC) if seconds else None
