"""Find the line of a key in TOML text.

`tomllib` gives values without places.  This scanner walks over text that `tomllib` has already accepted and notes the
line of each key, table and array element, by the same path that leads to the value.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Key", "Source", "dotted", "locate"]

Key = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\"]|\\[\s\S]|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_SCALAR = re.compile(r"[^,\]}#\n\r]+")


def locate(text: str) -> dict[Key, int]:
    """Return the line, counted from 1, of everything named in *text*; elements of arrays are counted from 0.

    A key that stands in several places (a table that is opened twice by dotted keys) has the line of the first.
    """
    return _Scanner(text).document()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys of a configuration were written.

    Args:
        path: the file.
        lines: line of each key in it.
        variables: environment variable that set a key instead.
    """

    path: Path = Path("gatepost.toml")
    lines: Mapping[Key, int] = field(default_factory=dict)
    variables: Mapping[Key, str] = field(default_factory=dict)

    def place(self, key: Key) -> str:
        """Return ``file:line`` of *key*, or of the nearest table around it that was written."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.variables:
                return f"environment:{self.variables[key[:length]]}"
            if key[:length] in self.lines:
                return f"{self.path}:{self.lines[key[:length]]}"
        return f"{self.path}:1"

    def problem(self, key: Key, text: str) -> str:
        """Return ``file:line: key: text``."""
        return f"{self.place(key)}: {dotted(key)}: {text}"


def dotted(key: Key) -> str:
    """Print a key as it is written, without the numbers of array elements."""
    return ".".join(part if _BARE.fullmatch(part) else ascii(part) for part in key if isinstance(part, str))


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.tables: dict[Key, int] = {}  # how many elements each array of tables has so far
        self._seen = 0
        self._line = 1

    def document(self) -> dict[Key, int]:
        table: Key = ()
        self.skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_GAP)
        return self.lines

    def header(self) -> Key:
        line = self.line()
        is_element = self.text.startswith("[[", self.at)
        self.at += 2 if is_element else 1
        parts = self.dotted()
        self.at += 2 if is_element else 1
        path = self.resolve(parts[:-1], line)
        name: Key = (*path, parts[-1])
        self.note(name, line)
        if not is_element:
            return self.last(name)
        number = self.tables.get(name, 0)
        self.tables[name] = number + 1
        self.note((*name, number), line)
        return (*name, number)

    def resolve(self, parts: Iterable[str], line: int) -> Key:
        path: Key = ()
        for part in parts:
            path = (*path, part)
            self.note(path, line)
            path = self.last(path)
        return path

    def last(self, path: Key) -> Key:
        """Step into the last element, if *path* is an array of tables."""
        count = self.tables.get(path)
        return path if count is None else (*path, count - 1)

    def pair(self, table: Key) -> None:
        line = self.line()
        path = table
        for part in self.dotted():
            path = (*path, part)
            self.note(path, line)
        self.at += 1  # the equals sign
        self.skip(_BLANK)
        self.value(path)

    def dotted(self) -> list[str]:
        parts = []
        while True:
            self.skip(_BLANK)
            bare = _BARE.match(self.text, self.at)
            if bare is not None:
                parts.append(bare[0])
                self.at = bare.end()
            else:
                quoted = self.take(_STRING)
                parts.append(tomllib.loads(f"key = {quoted}")["key"])
            self.skip(_BLANK)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def value(self, path: Key) -> None:
        match self.text[self.at]:
            case "[":
                self.elements(path)
            case "{":
                self.inline_table(path)
            case '"' | "'":
                self.take(_STRING)
            case _:
                self.take(_SCALAR)

    def elements(self, path: Key) -> None:
        self.at += 1
        number = 0
        self.skip(_GAP)
        while self.text[self.at] != "]":
            self.note((*path, number), self.line())
            self.value((*path, number))
            number += 1
            self.skip_comma()
        self.at += 1

    def inline_table(self, path: Key) -> None:
        self.at += 1
        self.skip(_GAP)
        while self.text[self.at] != "}":
            self.pair(path)
            self.skip_comma()
        self.at += 1

    def skip_comma(self) -> None:
        self.skip(_GAP)
        if self.text[self.at] == ",":
            self.at += 1
        self.skip(_GAP)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at offset {self.at}")
        self.at = match.end()
        return match[0]

    def line(self) -> int:
        self._line += self.text.count("\n", self._seen, self.at)
        self._seen = self.at
        return self._line

    def note(self, path: Key, line: int) -> None:
        self.lines.setdefault(path, line)
