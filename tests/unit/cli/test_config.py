"""`gatepost config` and `gatepost check`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatepost.cli.main import gatepost
from gatepost.config.sample import sample
from pems import make_pems

TEXT = """
hostname = "mail.example.org"
state_dir = "state"
[tls]
certificate = "both.pem"
[[route]]
name = "smarthost"
transport = "smarthost"
host = "smtp.example.net"
login = "x"
password = "geheim"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_pems(tmp_path)
    path = tmp_path / "gatepost.toml"
    path.write_text(TEXT)
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(gatepost, words, catch_exceptions=False)


def test_show_prints_what_is_in_force_without_secrets(path: Path) -> None:
    result = run("config", "show", "--config", str(path))
    assert result.exit_code == 0
    assert 'hostname = "mail.example.org"' in result.stdout.splitlines()
    assert 'route[0].password = "***"' in result.stdout.splitlines()
    assert "route[0].port = 587" in result.stdout.splitlines()
    assert "geheim" not in result.output


def test_show_prints_json_that_says_the_same(path: Path) -> None:
    values = json.loads(run("config", "show", "--json", "--config", str(path)).stdout)
    assert values["queue"]["give_up_after"] == "5d"
    assert values["route"][0]["password"] == "***"
    assert values["state_dir"] == str(path.parent / "state")


def test_sample_prints_toml() -> None:
    result = run("config", "sample")
    assert result.stdout == sample()
    assert tomllib.loads(result.stdout)["hostname"] == "mail.example.org"


def test_schema_prints_a_json_schema() -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert schema["additionalProperties"] is False
    assert {"hostname", "listener", "route", "queue"} <= set(schema["properties"])


def test_check_says_good_and_warns_on_standard_error(path: Path) -> None:
    result = run("check", "--config", str(path))
    assert result.exit_code == 0
    assert result.stdout == f"{path}: good\n"
    assert result.stderr == (
        f"{path}:11: route.password: stands in the open; move it into a file of its own: password_file (warning)\n"
    )


def test_check_says_what_is_wrong_and_exits_with_1(path: Path) -> None:
    path.write_text(TEXT.replace("both.pem", "cert.pem"))
    result = run("check", "--config", str(path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"{path}:5: tls.certificate: holds no private key" in result.stderr


def test_check_prints_json(path: Path) -> None:
    found = json.loads(run("check", "--json", "--config", str(path)).stdout)
    assert found["ok"] is True
    assert len(found["warnings"]) == 1
    path.write_text("hostname = ")
    result = run("check", "--json", "--config", str(path))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == [f"{path}:1: syntax: Invalid value; correct the TOML"]
