"""``gatepost config``: the configuration in force, a sample of it, and its schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.group import Group
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import printable

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["config"]


@click.group(cls=Group)
def config() -> None:
    """Show the configuration, a sample of it, or its schema."""


@config.command()
@config_option
@json_option
def show(config: Config, as_json: bool) -> None:
    """Print every key with the value in force; secrets are blanked."""
    values = config.model_dump(mode="json")
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for key, value in _flat(values, ""):
        click.echo(f"{key} = {printable(json.dumps(value, ensure_ascii=False))}")


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [each for name, below in value.items() for each in _flat(below, f"{path}.{name}" if path else name)]
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [each for number, below in enumerate(value) for each in _flat(below, f"{path}[{number}]")]
    return [(path, value)]


@config.command()
def sample() -> None:
    """Print an annotated configuration with every key and its default."""
    from gatepost.config.sample import sample as text

    click.echo(text(), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from gatepost.config.schema import Config

    click.echo(json.dumps(Config.model_json_schema(mode="validation"), indent=2))
