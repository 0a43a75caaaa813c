"""Which messages of the queue are meant: the options of the verbs, and the reading of the spools."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gatepost.cli.output import remark
from gatepost.errors import Malformed

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.queue.control import Selection
    from gatepost.spool.spool import Entry

__all__ = ["Filters", "filter_options", "found", "matching", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Filters:
    """What the user said.

    Args:
        ids: names of messages.
        sender: an address, a @domain, or <>.
        to_domain: a domain of recipients.
        account: a login.
        everything: whether all are meant, by the option that says so.
        option: that option's name.
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    to_domain: str | None = None
    account: str | None = None
    everything: bool = False
    option: str = "--all"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said: that never means everything."""
        return not (self.ids or self.sender or self.to_domain or self.account or self.everything)

    @property
    def is_only_ids(self) -> bool:
        """Whether messages were named, and nothing else."""
        return bool(self.ids) and self.sender is self.to_domain is self.account is None and not self.everything

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
        from gatepost.queue.control import Selection

        option, is_null = "--to-domain", self.sender == "<>"
        try:
            domain = None if self.to_domain is None else ascii_domain(parse_domain(self.to_domain.removeprefix("@")))
            option = "--from"
            pattern = None if self.sender is None or is_null else parse_sender_pattern(self.sender)
        except Malformed as error:
            raise click.BadParameter(str(error), param_hint=option) from None
        return Selection(pattern, is_null, domain, self.account, held, tuple(map(MessageId, self.ids)))


def filter_options(command: F) -> F:
    """Add ``--from``, ``--to-domain`` and ``--account``."""
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
    if filters.everything and filters.option == "--all-held":
        held = True
    return (entry.id for entry in found(config, filters.selection(held)))


def found(config: Config, selection: Selection) -> Iterator[Entry]:
    """Go through the messages of all spools that are meant, the oldest first; what is broken is told of."""
    from gatepost.errors import SpoolUnavailable
    from gatepost.queue.control import find
    from gatepost.spool.layout import folders
    from gatepost.spool.reader import open_reader

    with contextlib.ExitStack() as stack:
        readers = []
        for folder in folders(config.spool_dir):
            try:
                readers.append(stack.enter_context(open_reader(folder, remark)))
            except SpoolUnavailable as error:
                remark(str(error))
        # Names sort by the time of acceptance.
        yield from heapq.merge(*[find(reader, selection) for reader in readers], key=lambda entry: entry.id)
