"""Load the configuration: the file, the environment over it, secrets from their files; every problem at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from gatepost.config.environment import overlay
from gatepost.config.explain import explain
from gatepost.config.locate import Source, locate
from gatepost.config.schema import Config
from gatepost.errors import ConfigError

__all__ = ["load", "read"]

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TWICE = "Cannot overwrite a value"
_SIZE_LIMIT = 1 << 20


def load(path: Path, environ: Mapping[str, str], *, text: str | None = None) -> Config:
    """Read the file at *path* and the variables of *environ* that are ours.

    Args:
        path: the file.
        environ: the environment.
        text: what stood in the file, if it was read already.

    Raises:
        ConfigError: with one line, ``file:line: key: what is wrong, what to do``, for each problem.
    """
    text = read(path) if text is None else text
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_problem(path, text, str(error))) from None
    lines = locate(text)
    variables, problems = overlay(data, environ)
    source = Source(path, lines, variables)
    try:
        config = Config.model_validate(data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise ConfigError(*explain(error, source, data), *problems) from None
    if problems:
        raise ConfigError(*problems)
    config._source = source
    return config


def read(path: Path) -> str:
    """Return what stands in the file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}:1: file: does not exist; name another with --config or GATEPOST_CONFIG, "
            "or begin with the output of: gatepost config sample"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}:1: file: cannot be read ({error.strerror}); make it readable") from None
    if len(octets) > _SIZE_LIMIT:
        raise ConfigError(f"{path}:1: file: is longer than 1 MiB; name the right file")
    try:
        # Universal newlines, so that lines are counted as editors count them; without the mark that some put first.
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: file: is not UTF-8 here; save it as UTF-8") from None


def _syntax_problem(path: Path, text: str, reason: str) -> str:
    match = _PLACE.search(reason)
    if match is None:
        return f"{path}:1: syntax: {reason}; correct the TOML"
    line = int(match[1]) if match[1] else max(1, len(text.splitlines()))
    said = reason[: match.start()]
    if said == _TWICE:
        return f"{path}:{line}: syntax: {said}; this key or table stands above already: keep one of the two"
    return f"{path}:{line}: syntax: {said}; correct the TOML"
