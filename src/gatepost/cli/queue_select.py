"""Which messages of the queue are meant: the options of the verbs, and the reading of the spools."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gatepost.cli.output import Told, remark
from gatepost.cli.times import SPAN
from gatepost.errors import Malformed

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.queue.selection import Selection
    from gatepost.spool.spool import Entry

__all__ = ["Filters", "content_of", "filter_options", "found", "matching", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Filters:
    """What the user said.

    Args:
        ids: names of messages.
        sender: an address, a @domain, or <>.
        to_domain: a domain of recipients.
        account: a login.
        recipient: an address or a @domain of a recipient.
        route: name of a route.
        state: new, deferred or held.
        older_than: age in seconds.
        newer_than: age in seconds.
        everything: whether all are meant, by the option that says so.
        option: that option's name.
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    to_domain: str | None = None
    account: str | None = None
    recipient: str | None = None
    route: str | None = None
    state: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    everything: bool = False
    option: str = "--all"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said: that never means everything."""
        return not (self.ids or self.everything or self._has_conditions)

    @property
    def is_only_ids(self) -> bool:
        """Whether messages were named, and nothing else."""
        return bool(self.ids) and not self.everything and not self._has_conditions

    @property
    def _has_conditions(self) -> bool:
        conditions = (self.sender, self.to_domain, self.account, self.recipient, self.route, self.state)
        return any(conditions) or self.older_than is not None or self.newer_than is not None

    def selection(self, held: bool | None) -> Selection:
        """Return what they mean.

        Args:
            held: only those on hold, or only those that are not.

        Raises:
            click.BadParameter: one of them is not what it should be.
        """
        from gatepost.model.address import ascii_domain, parse_domain
        from gatepost.model.envelope import MessageId
        from gatepost.model.identity import parse_sender_pattern
        from gatepost.queue.selection import Selection

        option, is_null = "--to-domain", self.sender == "<>"
        try:
            domain = None if self.to_domain is None else ascii_domain(parse_domain(self.to_domain.removeprefix("@")))
            option = "--from"
            pattern = None if self.sender is None or is_null else parse_sender_pattern(self.sender)
            option = "--recipient"
            recipient = None if self.recipient is None else parse_sender_pattern(self.recipient)
        except Malformed as error:
            raise click.BadParameter(str(error), param_hint=option) from None
        if self.state is not None:
            held = self.state == "held"
        now = time.time()
        return Selection(
            sender=pattern,
            is_null_sender=is_null,
            domain=domain,
            account=self.account,
            held=held,
            recipient=recipient,
            is_tried={"new": False, "deferred": True}.get(self.state or ""),
            accepted_before=None if self.older_than is None else now - self.older_than,
            accepted_after=None if self.newer_than is None else now - self.newer_than,
            route=self.route or "",
            ids=tuple(map(MessageId, self.ids)),
        )


def filter_options(command: F) -> F:
    """Add ``--from``, ``--recipient``, ``--account`` and the others."""
    command = click.option("--newer-than", type=SPAN, metavar="SPAN", help="Only mail younger than that: 30m, 2h.")(
        command
    )
    command = click.option("--older-than", type=SPAN, metavar="SPAN", help="Only mail older than that: 30m, 12h, 2d.")(
        command
    )
    command = click.option(
        "--state",
        type=click.Choice(["new", "deferred", "held"]),
        help="Only mail that was not tried yet, that was, or that is on hold.",
    )(command)
    command = click.option(
        "--route", metavar="NAME", help="Only mail with a recipient that is still waiting and would go there now."
    )(command)
    command = click.option(
        "--recipient",
        metavar="ADDRESS",
        help="Only mail with this recipient, or one at a @domain, that is still waiting.",
    )(command)
    command = click.option("--account", metavar="LOGIN", help="Only mail submitted by LOGIN.")(command)
    command = click.option(
        "--to-domain", metavar="DOMAIN", help="Only mail with a recipient there that is still waiting."
    )(command)
    return click.option(
        "--from", "sender", metavar="ADDRESS", help="Only mail of this reverse-path, or of a @domain; <> is null."
    )(command)


def selection_options(option: str, text: str) -> Callable[[F], F]:
    """Add ``ID...``, the filters, and *option*, which means everything and says so in *text*."""

    def add(command: F) -> F:
        command = click.option(option, "everything", is_flag=True, help=text)(command)
        command = filter_options(command)
        return click.argument("ids", nargs=-1, metavar="[ID]...")(command)

    return add


def matching(config: Config, filters: Filters, held: bool | None) -> Iterator[str]:
    """Go through the names of the messages that are meant, the oldest first.

    Those that were named are taken as they are: what is wrong with one of them is told, not passed over.

    Args:
        config: says where the spools are.
        filters: what the user said.
        held: where messages are chosen by other things: only those on hold, or only those that are not.
    """
    if filters.is_only_ids:
        return iter(dict.fromkeys(filters.ids))
    if (filters.everything and filters.option == "--all-held") or filters.state == "held":
        held = True
    return (entry.id for entry in found(config, filters.selection(held)))


def content_of(config: Config, message_id: str, *, only_header: bool = False) -> Iterator[bytes]:
    """Go through the octets of a message, or those of its header.

    Raises:
        Told: it is not there, or cannot be read.
    """
    from gatepost.errors import SpoolUnavailable
    from gatepost.model.envelope import MessageId
    from gatepost.spool.layout import folders
    from gatepost.spool.reader import open_reader

    for folder in folders(config.spool_dir):
        try:
            with open_reader(folder) as reader:
                entry = reader.entry(MessageId(message_id))
                if entry is not None:
                    yield from [reader.header(entry)] if only_header else reader.content(entry)
                    return
        except SpoolUnavailable as error:
            raise Told(f"{message_id} cannot be read: {error}") from None
    raise Told(f"{message_id} is not in the queue; it may be delivered or bounced by now: see the log")


def found(config: Config, selection: Selection) -> Iterator[Entry]:
    """Go through the messages of all spools that are meant, the oldest first; what is broken is told of."""
    from gatepost.errors import SpoolUnavailable
    from gatepost.queue.selection import find
    from gatepost.relay.router import Router
    from gatepost.route_parts import routes
    from gatepost.spool.layout import folders
    from gatepost.spool.reader import open_reader

    with contextlib.ExitStack() as stack:
        readers = []
        for folder in folders(config.spool_dir):
            try:
                readers.append(stack.enter_context(open_reader(folder, remark)))
            except SpoolUnavailable as error:
                remark(str(error))
        if selection.route and selection.route not in {each.name for each, _ in config.ways}:
            raise Told(f"{selection.route} is no route; these are: {', '.join(each.name for each, _ in config.ways)}")
        router = Router(routes(config).values()) if selection.route else None
        # Names sort by the time of acceptance.
        yield from heapq.merge(*[find(reader, selection, router) for reader in readers], key=lambda entry: entry.id)
