"""What verbs print: rows as an aligned table or as JSON, remarks and trouble on standard error.

Text from outside (logins, addresses, replies) is printed with its control characters escaped, so that it cannot
steer a terminal.
"""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

__all__ = ["Told", "print_row", "print_rows", "printable", "remark"]


class Told(click.ClickException):
    """Trouble that is told to the user as it stands, line by line; exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error, without a prefix: lines begin with a file name that editors understand."""
        for line in self.message.splitlines() or [""]:
            click.echo(printable(line), file=file, err=True)


def printable(text: str) -> str:
    """Return *text* with every character that could steer a terminal or forge a line escaped."""
    if text.isprintable():
        return text
    # Category C: control, format (bidirectional overrides), surrogate, unassigned; Zl and Zp break lines.
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        else char
        for char in text
    )


def remark(text: str) -> None:
    """Print a remark to standard error."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], as_json: bool) -> None:
    """Print *rows* with the values named by *columns*: a table for people, or one JSON array of objects."""
    if as_json:
        click.echo(json.dumps([{name: _plain(row.get(name)) for name in columns} for row in rows], indent=2))
        return
    if not rows:
        return
    heading = [name.replace("_", " ").upper() for name in columns]
    table = [heading, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[number]) for line in table) for number in range(len(columns))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_row(row: Mapping[str, object], as_json: bool) -> None:
    """Print one record: a line per value for people, or one JSON object."""
    if as_json:
        click.echo(json.dumps({name: _plain(value) for name, value in row.items()}, indent=2))
        return
    width = max((len(name) for name in row), default=0)
    for name, value in row.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}".rstrip())


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dt.datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(each) for each in value]
        case _:
            return str(value)


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case dt.datetime():
            return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        case Mapping():
            return printable(", ".join(f"{key}={_cell(each)}" for key, each in value.items())) or "-"
        case list() | tuple() | set() | frozenset():
            return printable(", ".join(_cell(each) for each in value)) or "-"
        case _:
            return printable(str(value))
