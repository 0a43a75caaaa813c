"""Options that verbs share: ``--config`` hands over the loaded configuration, ``--json`` asks for JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gatepost.cli.output import Told
from gatepost.errors import ConfigError

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["DEFAULT_CONFIG", "config_option", "config_path_option", "json_option"]

DEFAULT_CONFIG = Path("/etc/gatepost/gatepost.toml")

F = TypeVar("F", bound=Callable[..., Any])


def _load(_context: click.Context, _parameter: click.Parameter, path: Path) -> Config:
    from gatepost.config.load import load

    try:
        return load(path, os.environ)
    except ConfigError as error:
        raise Told(str(error)) from error


def _option(name: str, callback: Callable[[click.Context, click.Parameter, Path], Any] | None) -> Callable[[F], F]:
    return click.option(
        "--config",
        name,
        type=click.Path(path_type=Path),
        envvar="GATEPOST_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        metavar="FILE",
        help="The configuration file.",
        callback=callback,
    )


def config_option(command: F) -> F:
    """Add ``--config FILE``; the verb gets ``config: Config``, loaded, or ends with what is wrong with it."""
    return _option("config", _load)(command)


def config_path_option(command: F) -> F:
    """Add ``--config FILE``; the verb gets ``config_path: Path`` and loads it when it wants to."""
    return _option("config_path", None)(command)


def json_option(command: F) -> F:
    """Add ``--json``; the verb gets ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
