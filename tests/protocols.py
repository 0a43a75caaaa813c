"""Make docs/protocols.md from tests/rfcs.toml: ``python tests/protocols.py [--check]``."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIST", "PAGE", "STATUSES", "Standard", "page", "read"]

LIST = Path(__file__).with_name("rfcs.toml")
PAGE = LIST.parent.parent / "docs" / "protocols.md"
STATUSES = ("full", "partial", "no")

HEAD = """\
# Protocols

<!-- Generated from tests/rfcs.toml by `make generate`; change it there. -->

The standards that gatepost follows, and how far: *full* is all of it that a submission server has to do, *partial* is
what the note says, but for what is missing, *no* is known and left out.
Code and tests name the section they obey or prove; a test holds this list to what they name.
"""


@dataclass(frozen=True, slots=True)
class Standard:
    """An RFC and how far it is followed; what is missing, if it is followed in part."""

    number: int
    area: str
    title: str
    status: str
    note: str
    missing: str = ""


def read() -> dict[int, Standard]:
    """Return the list, in its order.

    Raises:
        ValueError: an entry is not as it should be.
    """
    tables = tomllib.loads(LIST.read_text(encoding="utf-8"))
    areas = tables.pop("areas")
    standards = {}
    for number, entry in tables.items():
        standard = Standard(int(number), **{**entry, "area": areas[entry["area"]]})
        if standard.status not in STATUSES or not standard.title or not standard.note.endswith("."):
            raise ValueError(f"{LIST}: {number}: wants a title, a status of {STATUSES} and a note that is a sentence")
        if (standard.status == "partial") != standard.missing.endswith("."):
            raise ValueError(f"{LIST}: {number}: what is partial, and nothing else, says in a sentence what is missing")
        standards[standard.number] = standard
    return standards


def page() -> str:
    """Return the text of the page."""
    lines = [HEAD]
    area = ""
    for each in read().values():
        if each.area != area:
            area = each.area
            lines.append(f"## {area}\n\n| RFC | Title | Followed | Note | Missing |\n|---|---|---|---|---|")
        lines[-1] += (
            f"\n| [{each.number}](https://www.rfc-editor.org/rfc/rfc{each.number}) "
            f"| {each.title} | {each.status} | {each.note} | {each.missing or '-'} |"
        )
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is current."""
    text = page()
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE} is not current: make generate", file=sys.stderr)
        return 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
