"""Turn what pydantic found into lines for the operator: ``file:line: key: what is wrong, what to do``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gatepost.config.keys import is_list, names, step, walk
from gatepost.config.locate import Key, Source
from gatepost.config.schema import Config
from gatepost.config.values import print_duration

__all__ = ["explain"]

_UNITS = {"day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0, "microsecond": 1e-6}
_SPELT = re.compile(rf"(\d+) ({'|'.join(_UNITS)})s?")

# What tells the kinds of a table from each other, and how they are written.
_KINDS = {
    "route": ("transport", 'transport = "smarthost", "lmtp", "sandbox" or "discard"'),
    "store": ("type", 'type = "sqlite", "postgres", "passwd-file", "static", "http", "ldap" or "dovecot"'),
}


def explain(error: ValidationError, source: Source, data: Mapping[str, Any]) -> list[str]:
    """Return one line for each problem in *error*, in the order of the file."""
    problems = []
    found = [(_key(details["loc"]), details) for details in error.errors(include_url=False)]
    for key, details in found:
        kind = details["type"]
        if kind == "default_factory_not_called":
            continue  # a default that hangs on another key, which is wrong and named itself
        if kind == "too_short" and any(other[: len(key)] == key for other, _ in found if other != key):
            continue  # not empty: its elements are wrong, and named themselves
        if kind == "union_tag_not_found":
            key, text = (*key, _KINDS[str(key[0])][0]), "is missing; add " + _KINDS[str(key[0])][1]
        elif kind == "union_tag_invalid":
            tag, kinds = _KINDS[str(key[0])]
            key, text = (*key, tag), f"is {_quote(details['ctx']['tag'])}; write {kinds}"
        elif key == ("hostname",) and key not in source.lines and key not in source.variables:
            text = "is missing, and the system's own name is not fully qualified; add one such as mail.example.org"
        else:
            text = _explain_one(key, details, data)
        problems.append((source.lines.get(key, source.lines.get(key[:-1], 0)), source.problem(key, text)))
    return [line for _, line in sorted(problems, key=lambda each: each[0])]


def _key(location: tuple[str | int, ...]) -> Key:
    # pydantic puts the kind into the path of a key: ("route", 0, "smarthost", "host").
    return (*location[:2], *location[3:]) if location[0] in _KINDS and len(location) > 2 else location


def _explain_one(key: Key, details: ErrorDetails, data: Mapping[str, Any]) -> str:
    if details["type"] == "extra_forbidden":
        return _explain_unknown(key, data)
    phrase = _PHRASES.get(details["type"])
    if phrase is None:
        return f"{details['msg'].lower()}; correct it"
    return phrase(walk(Config, key), details.get("ctx", {}), details["input"])


def _explain_unknown(key: Key, data: Mapping[str, Any]) -> str:
    name = str(key[-1])
    table = walk(Config, key[:-1])
    known = names(table)
    if name in known:  # of a route or store of another kind
        value: Any = data
        for part in key[:-1]:
            value = value[part]
        tag = _KINDS[str(key[0])][0]
        return f"has no effect with {tag} = {_quote(value[tag])}; remove it"
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    if near:
        return f"is no key here; did you mean {near[0]}?"
    homes = sorted(_homes(name, Config), key=lambda each: each.startswith("[["))
    if homes:
        return f"is no key here; it belongs under {' or '.join(homes[:3])}"
    return "is no key here; remove it, or see: gatepost config sample"


def _homes(name: str, table: Any, above: str = "") -> list[str]:
    """Return the tables below *table* that have a key *name*, as their headings are written."""
    found = []
    for key, annotation in names(table).items():
        is_array = is_list(annotation)
        below = step(annotation, 0) if is_array else annotation
        if name in names(below):
            found.append(f"[[{above}{key}]]" if is_array else f"[{above}{key}]")
        found += _homes(name, below, f"{above}{key}.")
    return found


def _quote(value: object) -> str:
    """Show a short value; never called for secrets."""
    if isinstance(value, bool):
        return str(value).lower()
    text = ascii(value) if not isinstance(value, str) else '"' + ascii(value)[1:-1] + '"'
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bound(value: object) -> str:
    # Of a duration pydantic tells in its own words: "1 hour and 30 minutes".
    parts = _SPELT.findall(str(value))
    return (
        print_duration(timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts)))
        if parts
        else str(value)
    )


def _no_list(annotation: Any, _context: Mapping[str, Any], _value: object) -> str:
    if names(step(annotation, 0)):
        return "is no list of tables; write its name in two pairs of brackets, [[…]]"
    return "is no list; put what it holds between [ and ]"


def _no_table(_annotation: Any, _context: Mapping[str, Any], value: object) -> str:
    if isinstance(value, list):
        return "is one table, not a list; write its name in one pair of brackets, once"
    return "is no table; write its keys below its name in brackets"


def _missing(annotation: Any, _context: Mapping[str, Any], _value: object) -> str:
    return "is missing; add it" if not is_list(annotation) else "is missing; add one"


def _literal(_annotation: Any, context: Mapping[str, Any], value: object) -> str:
    expected = re.sub(r"'([^']*)'", r'"\1"', context["expected"])
    return f"is {_quote(value)}; write {expected}"


_PHRASES: dict[str, Callable[[Any, Mapping[str, Any], object], str]] = {
    "gatepost": lambda _a, context, _v: str(context["problem"]),
    "missing": _missing,
    "literal_error": _literal,
    "tuple_type": _no_list,
    "model_type": _no_table,
    "model_attributes_type": _no_table,
    "dict_type": _no_table,
    "int_type": lambda _a, _c, _v: "is no whole number; write digits, without quotes",
    "bool_type": lambda _a, _c, _v: "is neither true nor false; write one of them, without quotes",
    "string_type": lambda _a, _c, _v: "is no text; put it in quotes",
    "path_type": lambda _a, _c, _v: "is no path; put it in quotes",
    "too_short": lambda _a, _c, _v: "is empty; write one element at least, or leave it out",
    "string_too_short": lambda _a, _c, _v: "is empty; write some text",
    "string_too_long": lambda _a, context, _v: f"is too long; write {context['max_length']} character at most",
    "string_pattern_mismatch": lambda _a, _c, _v: "does not look right; write an address that begins with https://",
    "greater_than_equal": lambda _a, context, _v: f"is too small; write {_bound(context['ge'])} or more",
    "less_than_equal": lambda _a, context, _v: f"is too large; write {_bound(context['le'])} or less",
}
