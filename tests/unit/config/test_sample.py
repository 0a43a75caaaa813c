"""The annotated configuration, and the examples beside it."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from gatepost.config.check import check
from gatepost.config.keys import is_list, kinds, names, step
from gatepost.config.load import load
from gatepost.config.sample import sample
from gatepost.config.schema import Config
from pems import make_pems

FOLDER = Path(__file__).parents[3] / "config"
EXAMPLES = sorted((FOLDER / "examples").glob("*.toml"))
COMMENTED = re.compile(r"^#(?=\[|[a-z_]+ = )", re.MULTILINE)


def set_up(folder: Path, text: str) -> Path:
    """Write *text* with its paths in *folder*, and the files that it names."""
    make_pems(folder)
    (folder / "jwks.json").write_text('{"keys": []}')
    for name in re.findall(r'(?:password|token|client_secret|secret_access_key)_file = "/etc/gatepost/([^"]+)"', text):
        (folder / name).write_text("geheim\n")
        (folder / name).chmod(0o600)
    text = text.replace("/etc/gatepost/tls/fullchain.pem", "cert.pem").replace(
        "/etc/gatepost/tls/privkey.pem", "key.pem"
    )
    text = text.replace("/etc/gatepost/ca.pem", "cert.pem")
    path = folder / "gatepost.toml"
    path.write_text(re.sub(r'"/(?:etc/gatepost|var/lib/gatepost|var/log)/', '"', text))
    return path


def problems(path: Path) -> list[str]:
    found = check(load(path, {"GATEPOST_STATE_DIR": "state"}), dt.datetime(2026, 6, 1, tzinfo=dt.UTC))
    return [*found.problems, *found.warnings]


def test_the_file_in_the_repository_is_the_output_of_the_command() -> None:
    assert (FOLDER / "gatepost.toml").read_text() == sample()


def test_it_can_be_used_as_it_stands(tmp_path: Path) -> None:
    assert problems(set_up(tmp_path, sample())) == []


def test_every_line_that_is_commented_out_is_right_too(tmp_path: Path) -> None:
    text = COMMENTED.sub("", sample())
    # Keys of which only one of two can stand.
    text = re.sub(
        r"^(password|token|token_file|jwks_url|client_secret|secret_access_key|secret_access_key_file) = .*$",
        "",
        text,
        flags=re.MULTILINE,
    )
    config = load(set_up(tmp_path, text), {})
    assert [route.name for route in config.route] == ["smarthost", "sandbox", "mailboxes", "nowhere"]
    assert [listener.name for listener in config.listener] == ["submissions", "submission"]


def test_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    set_up(tmp_path, sample())
    plain = load(tmp_path / "gatepost.toml", {})
    # Tables that have no examples, only defaults.
    for name in ("auth", "limits", "queue", "policy"):
        text = re.search(rf"^\[{name}\]$.*?(?=^# [^\n]*\n(?:# [^\n]*\n)*#?\[)", sample(), re.MULTILINE | re.DOTALL)
        assert text is not None
        shown = tomllib.loads(COMMENTED.sub("", text[0]))[name]
        table = getattr(plain, name)
        kinds = {key: each.annotation for key, each in type(table).model_fields.items()}
        assert set(shown) == {key for key, kind in kinds.items() if not names(step(kind, 0) if is_list(kind) else kind)}
        # What has no value says in words what it is then; its example is another.
        shown = {key: value for key, value in shown.items() if getattr(table, key) is not None}
        assert getattr(Config.model_validate({"hostname": "mail.example.org", name: shown}), name) == table


def every_key(annotation: object, path: str = "") -> set[str]:
    found = set()
    for name, below in names(annotation).items():
        here = f"{path}.{name}" if path else name
        inner = step(below, 0) if is_list(below) else below
        found |= every_key(inner, here) if names(inner) else {here}
    return found


def test_every_key_of_the_schema_is_in_it() -> None:
    shown = set(re.findall(r"^#?([a-z0-9_]+) = ", sample(), re.MULTILINE))
    wanted = {key.split(".")[-1] for key in every_key(Config) if not key.startswith(("route.match.", "route.logins."))}
    missing = wanted - shown
    assert missing == set()


def models(annotation: object) -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    for kind in kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.add(kind)
            for field in kind.model_fields.values():
                found |= models(step(field.annotation, 0) if is_list(field.annotation) else field.annotation)
    return found


def test_every_table_is_strict_and_every_key_described() -> None:
    assert len(models(Config)) > 12
    for model in models(Config):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
        assert model.__doc__
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_there_is_an_example_for_each_provider() -> None:
    assert {path.stem for path in EXAMPLES} == {
        *(
            "gmail",
            "microsoft365",
            "amazon-ses",
            "mailgun",
            "sendgrid",
            "postmark",
            "mailtrap",
            "next-hop",
            "google-relay",
        ),
        *("keycloak", "authentik", "entra"),
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_used_as_it_stands(path: Path, tmp_path: Path) -> None:
    assert problems(set_up(tmp_path, path.read_text())) == []


@pytest.mark.parametrize("name", ["keycloak", "authentik"])
def test_an_example_s_other_way_can_be_used_as_well(name: str, tmp_path: Path) -> None:
    text = COMMENTED.sub("", (FOLDER / "examples" / f"{name}.toml").read_text())
    assert tomllib.loads(text)["oauth"]["issuers"][0]["client_id"]
    assert problems(set_up(tmp_path, text)) == []


@pytest.mark.parametrize("name", ["keycloak", "authentik", "entra", "gmail"])
def test_it_is_said_that_google_s_tokens_open_nothing(name: str) -> None:
    text = (FOLDER / "examples" / f"{name}.toml").read_text()
    assert "Google" in text
    assert "opaque" in text
    assert "RFC 7662" in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_its_provider_or_says_host_port_and_tls(path: Path) -> None:
    (route,) = tomllib.loads(path.read_text())["route"]
    assert "provider" in route or {"host", "port", "tls"} <= set(route)
    assert "password" not in route
