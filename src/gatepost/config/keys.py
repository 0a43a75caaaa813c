"""Walk the keys of the schema: which key leads to which kind of value."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from gatepost.config.locate import Key

__all__ = ["is_list", "kinds", "names", "step", "walk"]


def kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the types that *annotation* allows, without `Annotated`, unions and None; a list is a `tuple[...]`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return kinds(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(kind for each in typing.get_args(annotation) for kind in kinds(each))
    return () if annotation is type(None) else (annotation,)


def is_list(annotation: Any) -> bool:
    """Tell whether *annotation* is a list of something."""
    return any(typing.get_origin(kind) is tuple for kind in kinds(annotation))


def names(annotation: Any) -> dict[str, Any]:
    """Return the keys of the table that *annotation* is, each with its own annotation; empty if it is no table."""
    found: dict[str, Any] = {}
    for kind in kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {name: field.annotation for name, field in kind.model_fields.items()}
    return found


def step(annotation: Any, part: str | int) -> Any:
    """Return what lies under *part*: a key of a table, a number in a list; None if nothing does."""
    if isinstance(part, str):
        return names(annotation).get(part)
    for kind in kinds(annotation):
        if typing.get_origin(kind) is tuple:
            return typing.get_args(kind)[0]
    return None


def walk(annotation: Any, key: Iterable[str | int] | Key) -> Any:
    """Return what lies at *key*; None if nothing does."""
    for part in key:
        annotation = step(annotation, part)
    return annotation
