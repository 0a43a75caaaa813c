"""Lines of keys in TOML text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.locate import Key, Source, dotted, locate

TEXT = '''\
# comment with [brackets] and = signs
top = "a # no comment ] \\" quote" # comment
"quoted key" = 'it'
a.b . c = 1

[table] # comment
list = [
  1, # one ]
  [2, 3],

  { x = 1, y.z = "}" },
]
long = """
[not.a.table]
fake = "\\""" still"
""""
after = 2026-01-01T00:00:00Z

[[element]]
name = "first"
[element.below]
deep = true
[[element]]
name = "second"
[[element.list]]
n = 1
[[element.list]]
n = 2
'''


def test_every_kind_of_place_has_its_line() -> None:
    tomllib.loads(TEXT)
    lines = locate(TEXT)
    wanted: dict[Key, int] = {
        ("top",): 2,
        ("quoted key",): 3,
        ("a",): 4,
        ("a", "b", "c"): 4,
        ("table",): 6,
        ("table", "list"): 7,
        ("table", "list", 0): 8,
        ("table", "list", 1, 1): 9,
        ("table", "list", 2, "x"): 11,
        ("table", "list", 2, "y", "z"): 11,
        ("table", "long"): 13,
        ("table", "after"): 17,
        ("element", 0): 19,
        ("element", 0, "name"): 20,
        ("element", 0, "below"): 21,
        ("element", 0, "below", "deep"): 22,
        ("element", 1): 23,
        ("element", 1, "name"): 24,
        ("element", 1, "list", 0, "n"): 26,
        ("element", 1, "list", 1, "n"): 28,
    }
    assert {key: lines.get(key) for key in wanted} == wanted
    assert ("not",) not in lines
    assert ("table", "fake") not in lines


def leaves(value: Any, key: Key = ()) -> set[Key]:
    found = {key} if key else set()
    if isinstance(value, dict):
        for name, below in value.items():
            found |= leaves(below, (*key, name))
    if isinstance(value, list):
        for number, below in enumerate(value):
            found |= leaves(below, (*key, number))
    return found


# Pieces of TOML that are hard to tell apart: whatever they make together, if tomllib takes it, each key has a line.
PIECES = st.sampled_from(
    [
        *("a", "b", '"', "'", '"""', "'''", "\\", "#", "=", " = ", "[", "]", "[[", "]]", "{", "}", ",", ".", "\n", "é"),
        *(
            "a = 1\n",
            'b = "x"\n',
            "[t]\n",
            "[[l]]\n",
            "k.m = [1, {n = 2}]\n",
            's = """\n"',
            "c = '''\n",
            "1",
            " ",
            "\t",
        ),
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join))
def test_every_key_that_tomllib_sees_has_a_line(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    lines = locate(text)
    assert leaves(data) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_a_place_falls_back_to_what_is_around_it() -> None:
    source = Source(Path("x.toml"), {("queue",): 7, ("route", 0): 9})
    assert source.place(("queue", "retry")) == "x.toml:7"
    assert source.place(("route", 0, "host")) == "x.toml:9"
    assert source.place(("limits", "recipients")) == "x.toml:1"


def test_a_variable_of_the_environment_is_a_place_too() -> None:
    source = Source(
        Path("x.toml"), {("queue",): 7, ("queue", "retry"): 8}, {("queue", "retry"): "GATEPOST_QUEUE__RETRY"}
    )
    assert source.problem(("queue", "retry"), "is odd") == "environment:GATEPOST_QUEUE__RETRY: queue.retry: is odd"


@pytest.mark.parametrize(
    ("key", "text"), [(("a", 0, "b_c"), "a.b_c"), (("a\nb",), "'a\\nb'"), (("é",), "'\\xe9'"), (("route", 1), "route")]
)
def test_keys_print_in_one_plain_line(key: Key, text: str) -> None:
    assert dotted(key) == text
