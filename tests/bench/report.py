"""What came of the benchmark, on the screen and in a file: each figure beside its bar."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import sqlite3
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gatepost.session.wire

__all__ = ["Row", "print_rows", "write_report"]

_NOTES = re.compile(r"<!-- by hand -->.*", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One figure, what is asked, whether that is met (None: nothing is asked), and what would be better still."""

    what: str
    figure: str
    bar: str = ""
    met: bool | None = None
    stretch: str = ""


def _lines(rows: Sequence[Row]) -> list[str]:
    verdicts = {True: "met", False: "MISSED", None: ""}
    lines = ["| | figure | bar | | stretch |", "|---|--:|--:|---|--:|"]
    return lines + [f"| {row.what} | {row.figure} | {row.bar} | {verdicts[row.met]} | {row.stretch} |" for row in rows]


def print_rows(rows: Sequence[Row]) -> None:
    """Print them as a table."""
    print("\n".join(_lines(rows)), flush=True)


def write_report(
    path: Path, tables: str, rows: Sequence[Row], repeats: int, peers: Mapping[str, str], notes: Sequence[str]
) -> None:
    """Write the report to *path*; what stands there behind ``<!-- by hand -->`` stays.

    *peers* are the versions of the servers beside gatepost, *notes* what is to be known of them.
    """
    kept = _NOTES.search(path.read_text()) if path.exists() else None
    compiled = not gatepost.session.wire.__file__.endswith(".py")
    versions = {
        "gatepost": "compiled by mypyc " + importlib.metadata.version("mypy") if compiled else "not compiled",
        "Python": platform.python_version(),
        "uvloop": importlib.metadata.version("uvloop"),
        "aiosmtpd": importlib.metadata.version("aiosmtpd"),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "SQLite": sqlite3.sqlite_version,
        "Linux": platform.release().split("-")[0],
        **peers,
    }
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    path.write_text(
        f"""\
# Benchmarks

Written by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, {repeats} interleaved repeats.  {platform.machine()},
{os.cpu_count()} cores, which client and sink use as well; {shown}.

One server at a time takes authenticated mail over TLS 1.3 from a load client in C and hands it to a plain sink.  The
CPU is that of the server's whole process tree, until the sink has every message.

{chr(10).join(f"- {note}" for note in notes)}

{tables}
## Bars

{chr(10).join(_lines(rows))}

{kept[0] if kept else "<!-- by hand -->"}
"""
    )
