"""``gatepost tail``: follow what happens, in all workers, as the log shows it."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.node import is_running
from gatepost.cli.options import config_option
from gatepost.cli.output import Told, remark
from gatepost.control.client import Caller, HungUp
from gatepost.control.protocol import socket_paths
from gatepost.errors import Unavailable

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["tail"]

_CONNECT_SECONDS = 2.0
_TURN_SECONDS = 1.0


@click.command()
@click.option("--login", default="", metavar="LOGIN", help="Only what LOGIN does, and what becomes of its mail.")
@click.option("--session", default="", metavar="ID", help="Only this session, and what becomes of its mail.")
@click.option("--message", default="", metavar="ID", help="Only this message, and its bounces.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level that is shown; debug also where the log leaves it out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
@config_option
def tail(config: Config, login: str, session: str, message: str, level: str, as_json: bool) -> None:
    """Show what happens from now on, until it is interrupted.

    Conditions add up.  A reader who is too slow misses lines, and is told how many; the server waits for nobody.
    """
    if not is_running(config.state_dir):
        raise Told(f"no server runs with {config.state_dir}")
    form = "json" if as_json else "text"
    request = {"verb": "tail", "login": login, "session": session, "message": message, "level": level, "form": form}
    try:
        _follow(config, request)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _follow(config: Config, request: dict[str, Any]) -> None:
    """Print lines until no worker is left."""
    callers: dict[int, Caller] = {}
    look_at = 0.0
    try:
        while True:
            if time.monotonic() >= look_at:
                _connect(callers, socket_paths(config.run_dir), request)
                if not callers and not is_running(config.state_dir):
                    raise Told("the server has ended")
                look_at = time.monotonic() + _TURN_SECONDS
            ready, _, _ = select.select(list(callers.values()), [], [], _TURN_SECONDS)
            for number in [each for each, caller in callers.items() if caller in ready]:
                try:
                    rows, _ = callers[number].read(_TURN_SECONDS)
                except Unavailable as error:
                    remark(str(error))
                    callers.pop(number).close()
                    continue
                _print(number, rows)
    finally:
        for caller in callers.values():
            caller.close()


def _connect(callers: dict[int, Caller], paths: dict[int, Path], request: dict[str, Any]) -> None:
    """Follow those that are not followed yet: a worker that died comes back."""
    for number, path in paths.items():
        if number in callers:
            continue
        try:
            caller = Caller(path, request, _CONNECT_SECONDS)
        except Unavailable:
            continue  # it is just starting, or gone; its end was told when it came
        try:
            caller.read(_CONNECT_SECONDS)  # it says that it has begun, or why it does not
        except HungUp:
            caller.close()
            continue  # it was still there to be called, and died before it heard
        except Unavailable as error:
            caller.close()
            raise Told(str(error)) from None
        callers[number] = caller
        remark(f"following worker {number}")


def _print(number: int, rows: list[Any]) -> None:
    lines = [row["line"] for row in rows if "line" in row]
    if lines:
        click.echo("\n".join(lines))
    for row in rows:
        if "dropped" in row:
            remark(f"worker {number}: {row['dropped']} lines are missing here, for they came too fast")
