"""``gatepost status``: what the workers do, what lies in the queue, which routes are in trouble."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.node import ask_workers, is_running
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import print_row, print_rows, remark

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["status"]

_WORKER = ("worker", "pid", "version", "since", "generation", "sessions", "logged_in", "in_flight", "queued")
_SPOOL = ("spool", "queued", "held", "oldest")
_ROUTE = ("route", "state", "until", "reason")
_TOKEN = ("route", "token", "expires", "reason")


@click.command()
@config_option
@json_option
def status(config: Config, as_json: bool) -> None:
    """Show how the server is.

    Its workers, the spools, routes in trouble, free space.  Exits with 0 if it runs and all of its workers answer, and
    with 1 if not.
    """
    from gatepost.cli.route import merged
    from gatepost.errors import Unavailable

    spools, troubles = _spools(config)
    workers: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    runs = is_running(config.state_dir)
    if runs:
        answers = ask_workers(config, {"verb": "status"})
        troubles += [str(answer) for answer in answers.values() if isinstance(answer, Unavailable)]
        rows = {number: answer[0] for number, answer in answers.items() if not isinstance(answer, Unavailable)}
        expected = max((row["workers"] for row in rows.values()), default=0)
        troubles += [f"worker {number} does not run" for number in range(expected) if number not in answers]
        routes, _ = merged({number: row.pop("routes") for number, row in rows.items()})
        for row in rows.values():
            del row["tokens"]  # they are read where they are written down, also without a server
        workers = [_worker(row) for row in rows.values()]
        troubles += [
            f"worker {row['worker']}: the last reload came to nothing: {row['reload_error']}"
            for row in workers
            if row["reload_error"]
        ]
    else:
        troubles.append(f"no server runs with {config.state_dir}")
    room, tokens = _room(config), _tokens(config, troubles)
    if as_json:
        facts = {
            "running": runs,
            "workers": workers,
            "spools": spools,
            "routes": routes,
            "tokens": tokens,
            **room,
        }
        print_row(facts | {"troubles": troubles}, as_json=True)
    else:
        _print(workers, spools, routes, tokens, room)
        for trouble in troubles:
            remark(trouble)
    raise SystemExit(1 if troubles else 0)


def _worker(row: dict[str, Any]) -> dict[str, Any]:
    expires = row.get("certificate_expires")
    return row | {
        "since": _time(row["since"]),
        "uptime_seconds": round(time.time() - row["since"]),
        "oldest": _time(row["oldest"]),
        "certificate_expires": _time(expires),
    }


def _spools(config: Config) -> tuple[list[dict[str, Any]], list[str]]:
    """Look into the files: what is held, and what nobody works on, is not known to a worker that does not answer."""
    from gatepost.errors import GatepostError
    from gatepost.spool.layout import folders
    from gatepost.spool.reader import open_reader

    rows, troubles = [], []
    for folder in folders(config.spool_dir):
        try:
            with open_reader(folder) as reader:
                first = reader.list(limit=1)
                oldest = first[0].accepted_at if first else None
                rows.append(
                    {
                        "spool": int(folder.name),
                        "queued": reader.count(),
                        "held": reader.count(held=True),
                        "oldest": _time(oldest),
                    }
                )
        except GatepostError as error:
            troubles.append(str(error))
    return rows, troubles


def _tokens(config: Config, troubles: list[str]) -> list[dict[str, Any]]:
    """Return how the access tokens of the routes are."""
    from gatepost.cli.oauth import token_rows
    from gatepost.cli.output import Told

    try:
        rows = token_rows(config)
    except Told as error:
        troubles.append(str(error))
        return []
    return [
        {
            "route": row["route"],
            "token": row["state"],
            "expires": _time(row["expires"]),
            "retry": _time(row["retry"]),
            "secret_expires": _time(row["secret_expires"]),
            "reason": row["reason"],
        }
        for row in rows
    ]


def _room(config: Config) -> dict[str, Any]:
    try:
        answer = os.statvfs(config.spool_dir if config.spool_dir.exists() else config.state_dir)
    except OSError:
        return {"free_bytes": None, "reserve_bytes": config.reserve_bytes}
    return {"free_bytes": answer.f_bavail * answer.f_frsize, "reserve_bytes": config.reserve_bytes}


def _print(
    workers: list[dict[str, Any]],
    spools: list[dict[str, Any]],
    routes: list[dict[str, Any]],
    tokens: list[dict[str, Any]],
    room: Mapping[str, Any],
) -> None:
    troubled = [row for row in routes if row["state"] != "open"]
    for rows, columns in ((workers, _WORKER), (spools, _SPOOL), (troubled, _ROUTE), (tokens, _TOKEN)):
        if rows:
            print_rows(rows, columns, as_json=False)
            click.echo()
    free = "unknown" if room["free_bytes"] is None else f"{room['free_bytes'] / (1 << 20):,.0f} MiB"
    click.echo(f"free space: {free}; new mail is refused below {room['reserve_bytes'] / (1 << 20):,.0f} MiB")


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(round(seconds), dt.UTC)
