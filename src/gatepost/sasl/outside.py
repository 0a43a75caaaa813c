"""Mechanisms from elsewhere: each stands in somebody's package, and is loaded only where the configuration names it.

``"package.module:NAME"`` names a `gatepost.sasl.mechanism.Mechanism`.  It may take no name of ours, so that nobody can
slip something else under a name that is known.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable
from typing import Final

from gatepost.errors import ConfigError
from gatepost.sasl.mechanism import Mechanism
from gatepost.sasl.registry import MECHANISMS

__all__ = ["mechanism_names", "mechanism_of"]

# RFC 4422 §3.1: one to twenty letters, digits, hyphens and underscores.
_NAME: Final = re.compile(r"[A-Z0-9_-]{1,20}")

# What an import that goes wrong raises.
_FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def mechanism_of(written: str) -> Mechanism:
    """Return the mechanism that the configuration means: by a name of ours, or by where it stands.

    Raises:
        ConfigError: it cannot be loaded; the text goes on after the name of a key.
    """
    return _load(written) if ":" in written else MECHANISMS[written]


def mechanism_names(written: Iterable[str]) -> tuple[str, ...]:
    """Return the names that the mechanisms have for clients.  Raises `ConfigError`."""
    return tuple([mechanism_of(each).name for each in written])


@functools.cache
def _load(written: str) -> Mechanism:
    module, _, name = written.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        is_there = error.name is not None and not f"{module}.".startswith(f"{error.name}.")
        remedy = f"install {error.name}, which it needs" if is_there else "install it beside gatepost, or correct it"
        raise ConfigError(f'names "{written}", but there is no module {error.name}; {remedy}') from None
    except _FAILURES as error:
        raise ConfigError(
            f'names "{written}", which cannot be loaded ({type(error).__name__}: {error}); mend or remove it'
        ) from None
    mechanism = getattr(found, name, None)
    if not isinstance(mechanism, Mechanism):
        has = "is no gatepost.sasl.mechanism.Mechanism" if hasattr(found, name) else "is not there"
        raise ConfigError(f'names "{written}", but {name} {has}; name the Mechanism in {module}')
    if _NAME.fullmatch(mechanism.name) is None:
        raise ConfigError(
            f'names "{written}", whose name {mechanism.name!a} is none of SASL; '
            "it must have 20 upper-case letters, digits, - and _ at most"
        )
    if mechanism.name in MECHANISMS:
        raise ConfigError(f'names "{written}", which calls itself {mechanism.name}, as ours does; remove it')
    return mechanism
