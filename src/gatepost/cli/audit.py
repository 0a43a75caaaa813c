"""``gatepost audit``: see whether an audit trail is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from gatepost.cli.group import Group
from gatepost.cli.options import config_path_option, json_option
from gatepost.cli.output import Told, print_row, remark

__all__ = ["audit"]

_LINE_LIMIT = 16 << 20


@click.group(cls=Group)
def audit() -> None:
    """Look at the audit trail."""


@audit.command()
@click.argument("files", metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False), nargs=-1)
@config_path_option
@json_option
def verify(files: tuple[Path, ...], config_path: Path, as_json: bool) -> None:
    """Check that every line is there, in its order, as it was written.

    Without FILE it is the audit file of the configuration.  Several files are one trail that was rotated: name the
    oldest first.  Exit code 1 says that it is broken; the first broken line is named.  Lines missing at the very end of
    the newest file are not noticed.
    """
    from gatepost.observe.verify import verify as check

    files = files or (_configured(config_path),)
    with ExitStack() as stack:
        try:
            opened = [(str(path), stack.enter_context(path.open("rb"))) for path in files]
            verdict = check((name, _lines(file)) for name, file in opened)
        except OSError as error:
            raise Told(f"{error.filename or files[0]}: cannot be read: {error.strerror}") from None
    first = verdict.first
    facts: dict[str, object] = {
        "whole": first is None,
        "lines": verdict.lines,
        "chains": verdict.chains,
        "continued": verdict.continued,
        "torn": verdict.torn,
    }
    if as_json:
        place = None if first is None else {"file": first.file, "line": first.line, "reason": first.reason}
        print_row(facts | {"first": place}, as_json=True)
    elif first is None:
        print_row(facts, as_json=False)
    if verdict.continued and not as_json:
        remark(f"{verdict.continued} chains begin in an older file, which was not looked at")
    if first is not None:
        raise Told(f"{first.file}:{first.line}: {first.reason}")


def _configured(config_path: Path) -> Path:
    from gatepost.config.load import load

    path = load(config_path, os.environ).observe.audit_file
    if path is None:
        raise Told(f"{config_path}: observe.audit_file: is not set, so there is no audit trail; name a file")
    return path


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LINE_LIMIT):
        yield line
