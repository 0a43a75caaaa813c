"""The table of verbs, exit codes, and trouble told without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gatepost import __version__
from gatepost.cli import main
from gatepost.cli.main import VERBS, gatepost
from gatepost.errors import StoreUnavailable


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_in_the_table_is_there_and_explains_itself(verb: str) -> None:
    result = CliRunner().invoke(gatepost, [verb, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: gatepost {verb}")


def leaves(command: click.Command, words: tuple[str, ...]) -> dict[tuple[str, ...], click.Command]:
    if not isinstance(command, click.Group):
        return {words: command}
    context = click.Context(command)
    found = {}
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found |= leaves(below, (*words, name))
    return found


def test_every_verb_but_a_few_reads_a_configuration() -> None:
    without = {
        words
        for words, command in leaves(gatepost, ()).items()
        if not any("--config" in parameter.opts for parameter in command.params)
    }
    assert without == {("config", "sample"), ("config", "schema"), ("cert", "dev"), ("demo",)}


@pytest.mark.parametrize("words", [[], *([name] for name in VERBS)], ids=lambda words: " ".join(words) or "gatepost")
def test_help_cuts_no_sentence_off(words: list[str]) -> None:
    result = CliRunner().invoke(gatepost, [*words, "--help"])
    assert not [line for line in result.output.splitlines()[1:] if line.endswith("...")]


def test_every_verb_but_those_that_print_a_name_or_a_file_has_json() -> None:
    without = {
        words
        for words, command in leaves(gatepost, ()).items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    a_name = {
        ("account", each) for each in ("add", "change", "contact", "disable", "enable", "remove", "suspend", "unlock")
    }
    no_rows = {("serve",), ("demo",), ("oauth", "login"), ("config", "sample"), ("config", "schema")}
    assert without == a_name | no_rows | {("credential", "revoke")}


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(gatepost, ["--version"]).output == f"gatepost {__version__}\n"


def test_an_unknown_verb_is_wrong_use() -> None:
    result = CliRunner().invoke(gatepost, ["srve"])
    assert result.exit_code == 2
    assert "srve" in result.stderr


def test_a_configuration_that_cannot_be_used_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.toml"
    path.write_text('colour = "red"\n\nhostname = 1\n')
    result = CliRunner().invoke(gatepost, ["config", "show", "--config", str(path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert [line.split(": ")[0:2] for line in result.stderr.splitlines()] == [
        [f"{path}:1", "colour"],
        [f"{path}:3", "hostname"],
    ]


def test_trouble_that_we_know_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def troubled() -> None:
        raise StoreUnavailable("the store\x1b[31m is away")

    monkeypatch.setitem(VERBS, "troubled", f"{__name__}:troubled")
    monkeypatch.setattr(main.importlib, "import_module", lambda _: type("module", (), {"troubled": troubled}))
    result = CliRunner().invoke(gatepost, ["troubled"])
    assert (result.exit_code, result.stderr) == (1, "the store\\x1b[31m is away\n")


def test_the_configuration_is_named_by_the_environment_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(gatepost, ["config", "show"], env={"GATEPOST_CONFIG": str(tmp_path / "nowhere.toml")})
    assert result.exit_code == 1
    assert "nowhere.toml:1: file: does not exist" in result.stderr


def test_starting_the_command_line_imports_little() -> None:
    code = "import sys, gatepost.cli.main; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "sqlalchemy", "alembic", "cryptography", "aiosmtpd", "asyncio", "rich"} & set(modules)
