"""Lay environment variables over the file: ``GATEPOST_QUEUE__GIVE_UP_AFTER=4d`` is ``[queue] give_up_after``.

Two underscores go one level down; lists of tables are counted from 0: ``GATEPOST_ROUTE__0__HOST``.  A list is written
as in the file or with commas.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any

from gatepost.config.keys import is_list, kinds, names, step
from gatepost.config.locate import Key
from gatepost.config.schema import Config

__all__ = ["overlay"]

_PREFIX = "GATEPOST_"
_OURS = frozenset({"GATEPOST_CONFIG"})  # names the file itself


def overlay(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Key, str], list[str]]:
    """Set in *data* what *environ* says; return which variable set which key, and what is wrong."""
    variables: dict[Key, str] = {}
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in _OURS:
            continue
        parts = name.removeprefix(_PREFIX).lower().split("__")
        if len(parts) == 1 and not _is_meant(parts[0]):
            continue
        try:
            variables[_set(data, parts, environ[name])] = name
        except _Unusable as error:
            problems.append(f"environment:{name}: {'.'.join(parts)}: {error}")
    return variables, problems


def _is_meant(part: str) -> bool:
    """Tell a key, or a slip of one, from variables that others set: Kubernetes makes GATEPOST_PORT of a service."""
    return bool(difflib.get_close_matches(part, Config.model_fields, n=1, cutoff=0.85))


class _Unusable(ValueError):
    pass


def _set(data: dict[str, Any], parts: list[str], text: str) -> Key:
    place: Any = data
    annotation: Any = Config
    key: Key = ()
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if is_list(annotation):
            if not part.isdecimal() or int(part) > len(place):
                raise _Unusable(f"names no element; count from 0, and up to {len(place)} to add one")
            name: str | int = int(part)
            if name == len(place):
                place.append({})
        else:
            name = part
        below = step(annotation, name)
        if below is None:
            near = difflib.get_close_matches(part, names(annotation), n=1)
            hint = f"did you mean {near[0]}?" if near else "unset it or correct its name"
            raise _Unusable(f"is no key of gatepost; {hint}")
        key = (*key, name)
        is_table = bool(names(below)) or bool(names(step(below, 0)))
        if is_last and is_table:
            raise _Unusable("is a table; name a key in it, after two underscores")
        if not is_last and not is_table:
            raise _Unusable("goes deeper than its key; leave out what follows it")
        if is_last:
            place[name] = _read(below, text)
        else:
            place = place[name] if isinstance(name, int) else place.setdefault(name, [] if is_list(below) else {})
            if not isinstance(place, list if is_list(below) else dict):
                raise _Unusable("meets something else in the file; correct the file first")
        annotation = below
    return key


def _read(annotation: Any, text: str) -> Any:
    """Read *text* as in the file where a number, a flag or a list is wanted; else it is the text itself."""
    if is_list(annotation) or {int, bool} & set(kinds(annotation)):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            if is_list(annotation):
                return [part.strip() for part in text.split(",") if part.strip()]
    return text
