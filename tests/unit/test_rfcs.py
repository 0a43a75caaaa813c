"""The list of standards is true: what is cited is listed, and what is marked full is cited by code and by a test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import protocols

ROOT = Path(__file__).parents[2]
STANDARDS = protocols.read()

MENTION = re.compile(r"\bRFC (\d+)")
MARK = re.compile(r"""\bmark\.rfc\(\s*["'](\d+)([^"']*)["']""")
SECTION = re.compile(r"(?: (?:§|appendix )[0-9A-Z][0-9.]*,?)+")
DIALOG = re.compile(r"^# RFC (\d+)", re.MULTILINE)


def sources(folder: str, *suffixes: str) -> Iterable[tuple[Path, str]]:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in suffixes and path != protocols.PAGE:
            yield path, path.read_text(encoding="utf-8")


def cited(pattern: re.Pattern[str], texts: Iterable[tuple[Path, str]]) -> dict[int, set[str]]:
    """Return the files that cite each RFC."""
    found: dict[int, set[str]] = defaultdict(set)
    for path, text in texts:
        for match in pattern.finditer(text):
            found[int(match[1])].add(str(path.relative_to(ROOT)))
    return found


def test_everything_that_is_cited_is_listed() -> None:
    mentions = cited(
        MENTION, [*sources("src", ".py", ".md"), *sources("tests", ".py", ".smtp"), *sources("docs", ".md")]
    )
    marks = cited(MARK, sources("tests", ".py"))

    missing = {number: where for number, where in {**mentions, **marks}.items() if number not in STANDARDS}

    assert not missing, "cited, but not in tests/rfcs.toml"


def test_what_is_followed_in_full_is_cited_by_code_and_by_a_test() -> None:
    code = cited(MENTION, sources("src", ".py"))
    tests = cited(MARK, sources("tests", ".py"))
    for number, where in cited(DIALOG, sources("tests", ".smtp")).items():
        tests[number] |= where

    uncited = {
        number: [kind for kind, found in (("code", code), ("test", tests)) if number not in found]
        for number, standard in STANDARDS.items()
        if standard.status == "full"
    }

    assert not {number: kinds for number, kinds in uncited.items() if kinds}, "marked full, but not cited by these"


def test_what_is_followed_in_part_is_cited_by_code() -> None:
    code = cited(MENTION, sources("src", ".py"))

    assert not [each.number for each in STANDARDS.values() if each.status == "partial" and each.number not in code]


def test_every_mark_names_a_section() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in sources("tests", ".py")
        for match in MARK.finditer(text)
        if SECTION.fullmatch(match[2]) is None
    ]

    assert not wrong, 'write them as "4954 §4"'


def test_the_page_of_protocols_is_current() -> None:
    assert protocols.PAGE.read_text(encoding="utf-8") == protocols.page(), "make generate"
