"""Values that are made for each message: frozen for who writes code, as cheap as can be for who runs it.

    @value(frozen=True, slots=True)
    class Receipt: ...

mypy takes it for `dataclasses.dataclass` and refuses to change a field.  At run time nothing does: a frozen dataclass
sets each of its fields by a call, which takes twice as long, and a message is made of some hundred fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool):
        """Make a class a value: equal and hashed by its fields."""
        assert frozen
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["value"]
