"""``gatepost explain``: which way a message goes and why, and whether a login may send it; no server need run."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.node import act_as_owner, check_state_dir
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_row, print_rows, remark
from gatepost.errors import Malformed

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.model.envelope import Envelope
    from gatepost.relay.router import Router

__all__ = ["explain"]

_CHECKS = ("step", "ok", "reply", "reason")


@click.command()
@click.argument("message_id", metavar="[ID]", required=False)
@click.option("--login", metavar="LOGIN", help="Who would send it.")
@click.option("--credential", default="", metavar="ID", help="By which credential, id or label; one that may log in.")
@click.option("--from", "sender", metavar="ADDRESS", help="The reverse-path; the login, if not given; <> is null.")
@click.option("--rcpt", "recipients", multiple=True, metavar="ADDRESS", help="A recipient; may be given several times.")
@click.option(
    "--ip", "address", default="", metavar="ADDRESS", help="Where they would come from; not judged, if not given."
)
@click.option("--listener", default="", metavar="NAME", help="The listener they would come in by.")
@click.option("--header-from", metavar="TEXT", help="The From field; the reverse-path if not given.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field of the header.")
@click.option("--size", type=click.IntRange(min=0), metavar="OCTETS", help="How large it would be; 0 if not given.")
@config_option
@json_option
def explain(config: Config, message_id: str | None, login: str | None, as_json: bool, **said: Any) -> None:
    """Show which way the message ID in the queue goes, or one that LOGIN would send, and why.

    For each recipient the route that takes it, and what of each route before it does not match.  With --login also what
    the policies say, as far as they hang on nothing but the message: quotas and lockouts are not asked, and nothing is
    counted.  Ends with 1 if something is refused or has no route.
    """
    from gatepost.relay.router import Router
    from gatepost.route_parts import routes

    if (message_id is None) == (login is None):
        raise click.UsageError("name a message ID, or --login with --rcpt")
    router = Router(routes(config).values())
    if message_id is not None:
        if any(said.values()):
            raise click.UsageError("with an ID nothing else is asked")
        told = _queued(config, router, message_id)
    else:
        assert login is not None
        told = _imagined(config, router, login, said)
    is_fine = all(each["ok"] for each in told.get("checks", ())) and all(each["route"] for each in told["recipients"])
    _print(told, as_json)
    raise SystemExit(0 if is_fine else 1)


def _queued(config: Config, router: Router, message_id: str) -> dict[str, Any]:
    from gatepost.errors import SpoolUnavailable
    from gatepost.model.envelope import MessageId
    from gatepost.queue.known_fields import with_fields
    from gatepost.spool.layout import folders
    from gatepost.spool.reader import open_reader

    check_state_dir(config.state_dir)
    act_as_owner(config.state_dir)
    for folder in folders(config.spool_dir):
        try:
            with open_reader(folder) as reader:
                entry = reader.entry(MessageId(message_id))
                if entry is not None:
                    entry = with_fields(entry, router.fields, reader)
        except SpoolUnavailable as error:
            remark(str(error))
            continue
        if entry is not None:
            break
    else:
        raise Told(f"{message_id} is not in the queue; it may be delivered or bounced by now: see the log")
    rows = _ways(config, router, entry.envelope)
    for row, each in zip(rows, entry.progress, strict=True):
        row |= {"status": each.status.value, "reply": each.reply or None}
    return {**_facts(entry.envelope), "id": entry.id, "held": entry.is_held, "recipients": rows}


def _imagined(config: Config, router: Router, login: str, said: dict[str, Any]) -> dict[str, Any]:
    from gatepost.cli.explain_login import Attempt, judge, look_up
    from gatepost.message.asked_fields import asked_fields
    from gatepost.model.address import parse_forward_path, parse_reverse_path
    from gatepost.model.envelope import Envelope, Recipient, Transaction
    from gatepost.model.identity import Identity
    from gatepost.model.peer import Peer

    if not said["recipients"]:
        raise click.UsageError("--rcpt is missing: for whom would it be?")
    option = "--from"
    try:
        text = login if said["sender"] is None else said["sender"]
        sender = parse_reverse_path(text.removeprefix("<").removesuffix(">"))
        option = "--rcpt"
        recipients = [Recipient(parse_forward_path(each, config.hostname)) for each in said["recipients"]]
    except Malformed as error:
        raise click.BadParameter(error.reason, param_hint=option) from None
    if said["address"]:
        try:
            ipaddress.ip_address(said["address"])
        except ValueError:
            raise click.BadParameter("is no IP address", param_hint="--ip") from None
    if said["listener"] and said["listener"] not in [each.name for each in config.listener]:
        raise click.BadParameter("is no listener", param_hint="--listener")
    section = _section(said["header_from"] or str(sender or f"postmaster@{config.hostname}"), said["headers"])
    size = said["size"]
    transaction = Transaction(Identity("", ""), Peer("", 0, ""), sender, recipients, declared_size=size)
    attempt = Attempt(said["address"], said["listener"], transaction, section)

    async def ask() -> tuple[Identity, list[dict[str, Any]]]:
        identity, checks = await look_up(config, login, said["credential"], attempt)
        return identity, [*checks, *await judge(config, identity, attempt)]

    identity, checks = asyncio.run(ask())
    envelope = Envelope(
        sender,
        tuple(recipients),
        account=identity.account,
        credential=identity.credential,
        label=identity.label,
        size_bytes=size or 0,
        sandbox=identity.sandbox,
        fields=asked_fields(section, router.fields),
    )
    if size is None and any(
        each.match.size_over is not None or each.match.size_up_to is not None for each in router.routes
    ):
        remark("some route asks for the size, and --size is not given: 0 is taken")
    return {**_facts(envelope), "checks": checks, "recipients": _ways(config, router, envelope)}


def _section(author: str, headers: tuple[str, ...]) -> bytes:
    for each in headers:
        if ":" not in each or "\r" in each or "\n" in each:
            raise click.BadParameter(f"{each!r} is no header field; write 'Name: value'", param_hint="--header")
    if "\r" in author or "\n" in author:
        raise click.BadParameter("has a line end", param_hint="--header-from")
    # An argument that is no UTF-8 stands for the octets that it had.
    return "".join(f"{each}\r\n" for each in (f"From: {author}", *headers, "")).encode(errors="surrogateescape")


def _facts(envelope: Envelope) -> dict[str, Any]:
    return {
        "account": envelope.account or None,
        "credential": envelope.credential or None,
        "label": envelope.label or None,
        "sender": str(envelope.reverse_path or "<>"),
        "size": envelope.size_bytes,
    }


def _ways(config: Config, router: Router, envelope: Envelope) -> list[dict[str, Any]]:
    from gatepost.cli.explain_way import ways
    from gatepost.state.paused_routes import read_paused

    rows = ways(config, router, envelope, read_paused(config.state_dir))
    tokens = _tokens(config, {str(row["route"]) for row in rows})
    for row in rows:
        if row["route"] in tokens:
            row["token"] = tokens[row["route"]]
    return rows


def _tokens(config: Config, names: set[str]) -> dict[str, str]:
    """Return how the access tokens of these routes are, of those that have some: without one no mail goes there."""
    from gatepost.cli.oauth import token_rows
    from gatepost.config.routes import HostRoute

    if not any(each.name in names and isinstance(each, HostRoute) and each.oauth for each in config.route):
        return {}
    return {
        row["route"]: row["state"] if row["good"] else f"{row['state']}: {row['reason']}" for row in token_rows(config)
    }


def _print(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_row(told, as_json=True)
        return
    checks, rows = told.pop("checks", []), told.pop("recipients")
    print_row(told, as_json=False)
    if checks:
        click.echo()
        print_rows(checks, _CHECKS, as_json=False)
    for row in rows:
        click.echo()
        passed = row.pop("passed_over")
        print_row(row, as_json=False)
        for each in passed:
            print_row({f"not {each['route']}": each["why"]}, as_json=False)
