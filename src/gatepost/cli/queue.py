"""``gatepost queue``: look at the mail that waits, beside the running server."""

from __future__ import annotations

import datetime as dt
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_row, print_rows, remark
from gatepost.errors import Malformed

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.config.schema import Config
    from gatepost.queue.control import Selection
    from gatepost.spool.reader import SpoolReader
    from gatepost.spool.spool import Entry

__all__ = ["queue"]

_LIST = ("id", "accepted", "size", "sender", "recipients", "pending", "attempts", "due", "held")
_RECIPIENT = ("recipient", "status", "attempts", "at", "next_hop", "reply")


@click.group()
def queue() -> None:
    """Show the mail that waits."""


def _open(folder: Path) -> SpoolReader | None:
    """Open the spool; None if no server ever made one."""
    from gatepost.spool.reader import open_reader

    if not folder.exists():
        remark(f"{folder} does not exist: no server has run with this configuration yet")
        return None
    return open_reader(folder)


@queue.command("list")
@click.option(
    "--from", "sender", metavar="ADDRESS", help="Only mail of this reverse-path, or of a @domain; <> is null."
)
@click.option("--to-domain", metavar="DOMAIN", help="Only mail with a recipient there that is still waiting.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@config_option
@json_option
def list_entries(config: Config, sender: str | None, to_domain: str | None, limit: int, as_json: bool) -> None:
    """List waiting messages, the oldest first."""
    from gatepost.queue.control import find

    selection = _selection(sender, to_domain)
    reader = _open(config.spool_dir / "0")
    if reader is None:
        print_rows([], _LIST, as_json)
        return
    with reader:
        found = list(islice(find(reader, selection), limit + 1))
    print_rows([_row(entry) for entry in found[:limit]], _LIST, as_json)
    if len(found) > limit:
        remark(f"… and more than these {limit}; see --limit")


@queue.command()
@click.argument("message_id", metavar="ID")
@config_option
@json_option
def show(config: Config, message_id: str, as_json: bool) -> None:
    """Show one message: its envelope, and how far each recipient is."""
    from gatepost.model.envelope import MessageId

    reader = _open(config.spool_dir / "0")
    if reader is None:
        raise Told(f"{message_id} is not in the queue")
    with reader:
        entry = reader.entry(MessageId(message_id))
    if entry is None:
        raise Told(f"{message_id} is not in the queue; it may be delivered or bounced by now: see the log")
    recipients = [
        {
            "recipient": str(each.recipient),
            "status": each.status.value,
            "attempts": each.attempts,
            "at": _time(each.at),
            "next_hop": each.next_hop or None,
            "reply": each.reply or None,
        }
        for each in entry.progress
    ]
    envelope = entry.envelope
    facts = _row(entry) | {
        "stalled_seconds": round(entry.stalled),
        "account": envelope.account or None,
        "credential": envelope.credential or None,
        "body": envelope.body.value,
        "smtputf8": envelope.smtputf8,
        "sandbox": envelope.sandbox,
    }
    if as_json:
        print_row(facts | {"recipients": recipients}, as_json=True)
        return
    print_row(facts, as_json=False)
    click.echo()
    print_rows(recipients, _RECIPIENT, as_json=False)


def _selection(sender: str | None, to_domain: str | None) -> Selection:
    from gatepost.model.address import ascii_domain
    from gatepost.model.identity import parse_sender_pattern
    from gatepost.queue.control import Selection

    option = "--to-domain"
    try:
        domain = None if to_domain is None else ascii_domain(to_domain.removeprefix("@"))
        option = "--from"
        if sender == "<>":
            return Selection(is_null_sender=True, domain=domain)
        return Selection(None if sender is None else parse_sender_pattern(sender), domain=domain)
    except Malformed as error:
        raise click.BadParameter(str(error), param_hint=option) from None


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
