"""``gatepost route``: how the ways out are doing; close one by hand, open it again."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.group import Group
from gatepost.cli.node import ask_workers, check_state_dir, is_running
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_row, print_rows, remark
from gatepost.errors import Unavailable

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["merged", "route"]

_COLUMNS = ("route", "transport", "state", "until", "in_flight", "per_minute", "reason", "remedy")
# From the best to the worst.
_STATES = ("not running", "open", "waiting", "paused", "paused by hand")


@click.group(cls=Group)
def route() -> None:
    """Show the routes, pause and resume them."""


@route.command("list")
@config_option
@json_option
def list_(config: Config, as_json: bool) -> None:
    """List the routes, in the order in which they are asked, and how they are doing.

    \b
    open            mail goes out
    waiting         the next hop is away; it is tried again at the time that is shown
    paused          our login or its certificate is refused; tried again then, and nothing bounces for it
    paused by hand  until it is resumed; nothing bounces for it

    per_minute is how many messages may go in a minute, by the limits of the route and the answers of its next hop.
    Of a route with several hosts, those that failed and rest are named below.
    """
    rows, troubles = _rows(config)
    print_rows(rows, (*_COLUMNS, "hosts") if as_json else _COLUMNS, as_json)
    for row in () if as_json else rows:
        for each in row.get("hosts", ()):
            if each["rests"]:
                remark(f"{row['route']}: {each['host']} rests for {each['seconds']} s: {each['reason']}")
    for trouble in troubles:
        remark(trouble)
    raise SystemExit(1 if troubles else 0)


def _rows(config: Config) -> tuple[list[dict[str, Any]], list[str]]:
    from gatepost.state.paused_routes import paused_since, read_paused

    if is_running(config.state_dir):
        return merged(ask_workers(config, {"verb": "routes"}))
    paused = read_paused(config.state_dir)
    names: dict[str, str] = {each.name: each.transport for each, _ in config.ways}
    names |= {name: "" for name in paused if name not in names}
    return [
        {
            "route": name,
            "transport": transport,
            "state": "not running" if paused_since(paused, name) is None else "paused by hand",
            "in_flight": 0,
        }
        for name, transport in names.items()
    ], []


def merged(answers: dict[int, list[Any] | Unavailable]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one row for each route, the worst that any worker says of it, and who did not answer."""
    rows: dict[str, dict[str, Any]] = {}
    troubles = [str(answer) for answer in answers.values() if isinstance(answer, Unavailable)]
    for answer in answers.values():
        for row in () if isinstance(answer, Unavailable) else answer:
            until = row["until"]
            row["until"] = None if until is None else dt.datetime.fromtimestamp(round(until), dt.UTC)
            old = rows.setdefault(row["route"], row)
            if old is row:
                continue
            in_flight = old["in_flight"] + row["in_flight"]
            worse = max(old, row, key=lambda each: _STATES.index(each["state"]))
            pairs = zip(old.get("hosts", ()), row.get("hosts", ()), strict=False)
            hosts = [max(pair, key=lambda each: (each["rests"], each["seconds"])) for pair in pairs]
            rows[row["route"]] = worse | {"in_flight": in_flight, "hosts": hosts}
    return list(rows.values()), troubles


@route.command()
@click.argument("name")
@config_option
@json_option
def pause(config: Config, name: str, as_json: bool) -> None:
    """Let nothing out on the route NAME until it is resumed, also after a restart.

    Attempts under way come to their end.  Mail that waits for the route grows no older and does not bounce.
    """
    _check_name(config, name)
    _switch(config, name, time.time(), f"{name}: is paused by hand already", as_json)


@route.command()
@click.argument("name")
@config_option
@json_option
def resume(config: Config, name: str, as_json: bool) -> None:
    """Use the route NAME again, and try it at once, also if it was not paused by hand."""
    from gatepost.state.paused_routes import read_paused

    if name not in read_paused(config.state_dir):
        _check_name(config, name)
    _switch(config, name, None, f"{name}: is not paused", as_json)


def _check_name(config: Config, name: str) -> None:
    names = [each.name for each, _ in config.ways]
    if name not in names:
        raise Told(f"{name}: is no route; there are: {', '.join(names)}")


def _switch(config: Config, name: str, since: float | None, nothing_to_do: str, as_json: bool) -> None:
    from gatepost.state.paused_routes import note_paused

    check_state_dir(config.state_dir)
    try:
        is_changed = note_paused(config.state_dir, name, since)
    except OSError as error:
        raise Told(f"{error.filename or config.state_dir}: cannot be written: {error.strerror}") from None
    troubles: list[str] = []
    if is_running(config.state_dir):
        if since is None and not is_changed:
            before, _ = merged(ask_workers(config, {"verb": "routes"}))
            is_changed = any(row["route"] == name and row["state"] != "open" for row in before)
        # Also if nothing is new in the file: somebody may have written it, and could not tell a worker.
        request = {"verb": "routes", "changed": True, "probe": name if since is None else ""}
        _, troubles = merged(ask_workers(config, request, changes=True))
    if as_json:
        print_row({"route": name, "changed": is_changed, "troubles": troubles}, as_json=True)
    elif is_changed:
        click.echo(name)
    else:
        remark(nothing_to_do)
    for trouble in troubles:
        remark(f"{trouble}; it takes this up at its next start, for it is written down")
    raise SystemExit(0 if is_changed and not troubles else 1)
