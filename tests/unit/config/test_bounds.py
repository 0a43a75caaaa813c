"""The bounds that stand in the schema hold: pydantic passes over them beside some kinds of validators."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import annotated_types
import pytest
from pydantic import BaseModel, ValidationError

from gatepost.config.keys import kinds, names, step
from gatepost.config.schema import Config


def tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """Go through all tables at and below *annotation*."""
    for kind in kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
    for below in names(annotation).values():
        yield from tables(below)
        yield from tables(step(below, 0))


def bounds() -> Iterator[tuple[type[BaseModel], str, Any]]:
    for table in dict.fromkeys(tables(Config)):
        for name, field in table.model_fields.items():
            for each in field.metadata:
                if isinstance(each, annotated_types.Ge):
                    yield table, name, beyond(each.ge, -1)
                elif isinstance(each, annotated_types.Le):
                    yield table, name, beyond(each.le, 1)


def beyond(bound: Any, sign: int) -> Any:
    return bound + sign * (timedelta(milliseconds=1) if isinstance(bound, timedelta) else 1)


BOUNDS = list(bounds())


@pytest.mark.parametrize(
    ("table", "name", "value"), BOUNDS, ids=lambda each: each.__name__ if isinstance(each, type) else str(each)
)
def test_what_is_beyond_a_bound_is_refused(table: type[BaseModel], name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        table.model_validate({name: value})
    assert name in [each["loc"][0] for each in caught.value.errors() if each["loc"]]


def test_there_are_bounds_of_durations_too() -> None:
    durations = [name for table, name, value in BOUNDS if isinstance(value, timedelta)]
    assert {"attempt_timeout", "failure_delay", "window", "timeout", "keys_last"} <= set(durations)
