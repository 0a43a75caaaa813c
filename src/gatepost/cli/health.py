"""``gatepost health``: one word and an exit code, for a container's health check.

It starts quickly: of the configuration it reads the one key that says where the workers listen.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from gatepost.cli.options import config_path_option, json_option
from gatepost.cli.output import Told, print_row, remark
from gatepost.control.client import ask_all
from gatepost.control.protocol import socket_paths
from gatepost.errors import Unavailable

__all__ = ["health", "state_dir"]

_DEFAULT = "/var/lib/gatepost"


@click.command()
@click.option("--timeout", type=float, default=5.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@config_path_option
@json_option
def health(config_path: Path, timeout: float, as_json: bool) -> None:
    """Say whether the server does its work.

    Exits with 0 if every worker answers, accepts connections and can keep mail, and with 1, and the reasons, if not.
    """
    problems = _problems(state_dir(config_path, os.environ.get("GATEPOST_STATE_DIR", "")) / "run", timeout)
    if as_json:
        print_row({"ok": not problems, "problems": problems}, as_json=True)
    elif not problems:
        click.echo("healthy")
    else:
        for problem in problems:
            remark(problem)
    raise SystemExit(1 if problems else 0)


def state_dir(config_path: Path, variable: str = "") -> Path:
    """Return where state lies, without loading the rest of the configuration.

    Args:
        config_path: the file.
        variable: what the environment says, if it does.

    Raises:
        Told: the file cannot be read.
    """
    try:
        with config_path.open("rb") as file:
            written = tomllib.load(file).get("state_dir", _DEFAULT)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Told(f"{config_path}: cannot be read: {error}; see gatepost check") from None
    # As in the configuration: relative to the folder of the file.
    return config_path.absolute().parent / (variable or str(written))


def _problems(run_dir: Path, timeout: float) -> list[str]:
    paths = socket_paths(run_dir)
    if not paths:
        return [f"no worker listens in {run_dir}: gatepost does not run, or with another state_dir"]
    problems: list[str] = []
    expected = 0
    for number, answer in ask_all(paths, {"verb": "health"}, timeout).items():
        if isinstance(answer, Unavailable):
            problems.append(str(answer))
            continue
        row: dict[str, Any] = answer[0]
        expected = max(expected, row["workers"])
        problems += [f"worker {number}: {each}" for each in row["problems"]]
    return problems + [f"worker {number} does not run" for number in range(expected) if number not in paths]
