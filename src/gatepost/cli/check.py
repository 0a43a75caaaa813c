"""``gatepost check``: say what is wrong with the configuration, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gatepost.cli.options import config_path_option, json_option
from gatepost.cli.output import print_row, remark

__all__ = ["check"]


@click.command()
@config_path_option
@json_option
def check(config_path: Path, as_json: bool) -> None:
    """Check the configuration and the files it names.

    Prints a line for each finding: file:line: key: what is wrong, what to do.  Exits with 0 if gatepost can start,
    and with 1 if not.
    """
    import os

    from gatepost.config.check import check as look
    from gatepost.config.load import load
    from gatepost.errors import ConfigError

    try:
        findings = look(load(config_path, os.environ))
        problems, warnings = findings.problems, findings.warnings
    except ConfigError as error:
        problems, warnings = list(error.problems), []
    if as_json:
        print_row({"ok": not problems, "problems": problems, "warnings": warnings}, as_json=True)
    else:
        for line in problems:
            remark(line)
        for line in warnings:
            remark(f"{line} (warning)")
        if not problems:
            click.echo(f"{config_path}: good")
    sys.exit(1 if problems else 0)
