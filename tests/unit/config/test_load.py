"""The file, the environment over it, and what is told when they are wrong (more of that in tests/bad_configs)."""

from __future__ import annotations

import socket
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.load import load
from gatepost.config.schema import Config, SandboxRoute, SmarthostRoute
from gatepost.errors import ConfigError
from gatepost.model.identity import Secret

MINIMAL = """
hostname = "mail.example.org"
[[route]]
name = "next"
transport = "smarthost"
host = "127.0.0.1"
tls = "none"
"""


def written(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "gatepost.toml"
    path.write_text(text, newline="")
    return path


def test_defaults_are_those_of_a_submission_server(tmp_path: Path) -> None:
    config = load(written(tmp_path), {})
    assert [(each.name, each.address, each.port, each.tls) for each in config.listener] == [
        ("submission", "*", 587, "starttls"),
        ("submissions", "*", 465, "implicit"),
    ]
    assert config.auth.mechanisms == ("SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")
    assert config.state_dir == Path("/var/lib/gatepost")
    assert config.secret_key_file == Path("/var/lib/gatepost/secret.key")
    assert [store.path for store in config.store] == [Path("/var/lib/gatepost/accounts.db")]
    assert config.spool_dir == Path("/var/lib/gatepost/spool")
    assert config.limits.message_bytes == 26_214_400
    assert config.tls.minimum_version == "TLSv1.2"
    assert config.policy.null_sender == "deny"


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_of_a_route_follows_its_tls(tls: str, port: int, tmp_path: Path) -> None:
    route = load(written(tmp_path, MINIMAL.replace('"none"', f'"{tls}"')), {}).route[0]
    assert isinstance(route, SmarthostRoute)
    assert route.port == port
    assert route.verify


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    written(
        tmp_path / "etc", 'state_dir = "../state"\n[tls]\ncertificate = "c.pem"\n' + MINIMAL.replace("hostname", "#")
    )
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/gatepost.toml"), {"GATEPOST_HOSTNAME": "mail.example.org"})
    assert config.state_dir == tmp_path / "etc/../state"
    assert config.tls.certificate == tmp_path / "etc/c.pem"
    assert config.secret_key_file == tmp_path / "etc/../state/secret.key"


def test_the_reserve_grows_with_the_largest_message(tmp_path: Path) -> None:
    assert load(written(tmp_path), {}).reserve_bytes == 64 << 20
    assert load(written(tmp_path), {"GATEPOST_LIMITS__MESSAGE_BYTES": "100MiB"}).reserve_bytes == 200 << 20
    assert load(written(tmp_path), {"GATEPOST_SPOOL__RESERVE_BYTES": "1"}).reserve_bytes == 1


def test_the_environment_overrides_every_kind_of_value(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    config = load(
        written(tmp_path),
        {
            "GATEPOST_HOSTNAME": "other.example.org",
            "GATEPOST_QUEUE__GIVE_UP_AFTER": "4d",
            "GATEPOST_QUEUE__RETRY": '["1m", "2m"]',
            "GATEPOST_AUTH__MECHANISMS": "PLAIN, LOGIN",
            "GATEPOST_AUTH__ARGON2__PASSES": "3",
            "GATEPOST_LIMITS__RECIPIENTS": "7",
            "GATEPOST_ROUTE__0__VERIFY": "false",
            "GATEPOST_ROUTE__0__LOGIN": "123",
            "GATEPOST_ROUTE__0__PASSWORD": "[1]",
            "GATEPOST_ROUTE__0__MATCH__ACCOUNTS": "tim,ann",
            "GATEPOST_ROUTE__1__NAME": "sandbox",
            "GATEPOST_ROUTE__1__TRANSPORT": "sandbox",
            "GATEPOST_ROUTE__1__PATH": "mail",
            "GATEPOST_LISTENER__0__NAME": "one",
            "GATEPOST_LISTENER__0__PORT": "2465",
            "GATEPOST_LISTENER__0__TLS": "implicit",
        },
    )
    assert config.hostname == "other.example.org"
    assert config.queue.give_up_after == timedelta(days=4)
    assert config.queue.retry == (timedelta(minutes=1), timedelta(minutes=2))
    assert config.auth.mechanisms == ("PLAIN", "LOGIN")
    assert config.auth.argon2.passes == 3
    assert config.limits.recipients == 7
    first, second = config.route
    assert isinstance(first, SmarthostRoute)
    assert (first.verify, first.login, first.password_secret) == (False, "123", Secret(b"[1]"))
    assert first.match.accounts == ("tim", "ann")
    assert isinstance(second, SandboxRoute)
    assert second.path == tmp_path / "mail"
    assert [each.port for each in config.listener] == [2465]


@pytest.mark.parametrize(
    "name", ["GATEPOST_CONFIG", "GATEPOST_PORT", "GATEPOST_SERVICE_HOST", "GATEPOST_PORT_587_TCP_ADDR", "HOSTNAME"]
)
def test_variables_that_others_set_are_left_alone(name: str, tmp_path: Path) -> None:
    assert load(written(tmp_path), {name: "x"}).hostname == "mail.example.org"


def test_secrets_come_from_files_and_never_show(tmp_path: Path) -> None:
    (tmp_path / "smart.secret").write_text("geheim\n")
    text = MINIMAL.replace('"none"', '"starttls"') + 'login = "x"\npassword_file = "smart.secret"\n'
    config = load(written(tmp_path, text), {})
    route = config.route[0]
    assert isinstance(route, SmarthostRoute)
    assert route.password_secret == Secret(b"geheim")
    assert route.token_secret is None
    for shown in (repr(config), str(config.model_dump()), config.model_dump_json()):
        assert "geheim" not in shown
        assert "smart.secret" in shown or "***" in shown


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    text = MINIMAL + 'passwrod = "geheim1"\npassword = ["geheim2"]\ntoken = 3333333\n'
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), {})
    assert len(caught.value.problems) == 3
    assert not any(secret in str(caught.value) for secret in ("geheim", "3333333"))


def test_the_name_of_the_system_is_taken_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, MINIMAL.replace("hostname", "#"))
    monkeypatch.setattr(socket, "gethostname", lambda: "whole.example.org")
    assert load(path, {}).hostname == "whole.example.org"
    monkeypatch.setattr(socket, "gethostname", lambda: "short")
    monkeypatch.setattr(socket, "getfqdn", lambda: "short.example.org")
    assert load(path, {}).hostname == "short.example.org"
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost")
    with pytest.raises(ConfigError, match=r"hostname: is missing, and the system's own name is not fully qualified"):
        load(path, {})


def test_lines_are_counted_with_any_newline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gatepost\.toml:3: colour: "):
        load(written(tmp_path, 'hostname = "mail.example.org"\r\n\r\ncolour = 1\r\n'), {})


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; name another with --config"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path, {})


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 1 MiB"):
        load(written(tmp_path, "#" * ((1 << 20) + 1)), {})


KEYS = st.sampled_from(
    ["hostname", "tls", "route", "auth.mechanisms", "limits", "queue.retry", '"x\\n"', "store", "listener"]
)
VALUES = st.sampled_from(
    ["1", "1.5", '"x"', "[]", "[1]", "{}", "[{}]", "true", "nan", "2026-01-01", '[{transport = "sandbox"}]', "[[]]"]
)
HEADS = st.sampled_from(
    ["[tls]", "[[route]]", "[[listener]]", "[route.match]", "[oauth]", "[[oauth.issuers]]", "[auth.argon2]"]
)


@given(
    st.lists(st.one_of(st.tuples(KEYS, VALUES).map(" = ".join), HEADS), max_size=8).map("\n".join),
    st.dictionaries(
        st.sampled_from(
            [
                "GATEPOST_ROUTE__0__HOST",
                "GATEPOST_TLS__KEY",
                "GATEPOST_LISTENER__0__PORT",
                "GATEPOST_QUEUE",
                "GATEPOST___",
            ]
        ),
        st.sampled_from(["", "1", "x", "[", "nan"]),
        max_size=3,
    ),
)
def test_whatever_is_written_is_a_config_or_named_problems(text: str, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), text)
        problems: tuple[str, ...] = ()
        try:
            assert isinstance(load(path, environ), Config)
        except ConfigError as error:
            problems = error.problems or ("",)
        assert all(line.startswith((f"{path}:", "environment:")) and "\n" not in line for line in problems)
