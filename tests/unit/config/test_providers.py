"""Presets: what `provider` sets on a route, and what the route's own keys do beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.config.providers import PROVIDERS
from gatepost.config.routes import SmarthostRoute
from gatepost.config.ses import smtp_password
from gatepost.model.identity import Secret
from gatepost.route_parts import routes
from gatepost.state.pace_file import PaceFile

DOCS = Path(__file__).parents[3] / "docs" / "providers.md"
HEAD = 'hostname = "mail.example.org"\nstate_dir = "state"\n[[route]]\nname = "out"\ntransport = "smarthost"\n'


def route(tmp_path: Path, *lines: str) -> SmarthostRoute:
    """Return the route that these keys make."""
    path = tmp_path / "gatepost.toml"
    path.write_text(HEAD + "\n".join(lines))
    (route,) = load(path, {}).route
    assert isinstance(route, SmarthostRoute)
    return route


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_preset_makes_a_route(name: str, tmp_path: Path) -> None:
    lines = [f'provider = "{name}"']
    if name == "ses":
        lines.append('region = "eu-west-1"')
    if name == "kumomta":
        lines.append('host = "192.0.2.1"')
    made = route(tmp_path, *lines)
    assert made.host
    assert made.preset is PROVIDERS[name]
    assert made.port == {"starttls": 587, "none": 25}[made.tls]
    assert made.verify or made.tls == "none"


def test_a_preset_sets_host_login_limits_and_mechanisms(tmp_path: Path) -> None:
    made = route(tmp_path, 'provider = "microsoft365"')
    assert (made.host, made.port, made.tls) == ("smtp.office365.com", 587, "starttls")
    assert made.mechanisms == ("XOAUTH2", "LOGIN")
    assert (made.connections, made.messages_per_minute, made.recipients_per_day) == (3, 30, 10_000)
    assert made.recipients_per_message == 500
    assert route(tmp_path, 'provider = "sendgrid"').login == "apikey"


def test_keys_of_the_route_count_before_those_of_the_preset(tmp_path: Path) -> None:
    made = route(
        tmp_path,
        'provider = "microsoft365"',
        'host = "192.0.2.7"',
        'tls = "implicit"',
        "connections = 2",
        "messages_per_minute = 0",
        'mechanisms = ["plain"]',
    )
    assert (made.host, made.port, made.tls, made.connections) == ("192.0.2.7", 465, "implicit", 2)
    assert made.messages_per_minute == 0
    assert made.mechanisms == ("PLAIN",)
    assert made.recipients_per_day == 10_000


def test_an_environment_variable_counts_as_a_key(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.toml"
    path.write_text(HEAD + 'provider = "gmail"')
    (made,) = load(path, {"GATEPOST_ROUTE__0__MESSAGES_PER_DAY": "7"}).route
    assert isinstance(made, SmarthostRoute)
    assert made.messages_per_day == 7


def test_regions_have_hosts_of_their_own(tmp_path: Path) -> None:
    for provider, region, host in (
        ("mailgun", "", "smtp.mailgun.org"),
        ("mailgun", "eu", "smtp.eu.mailgun.org"),
        ("sendgrid", "eu", "smtp.eu.sendgrid.net"),
        ("ses", "eu-central-1", "email-smtp.eu-central-1.amazonaws.com"),
        ("ses", "us-gov-west-1", "email-smtp.us-gov-west-1.amazonaws.com"),
    ):
        lines = [f'provider = "{provider}"'] + ([f'region = "{region}"'] if region else [])
        assert route(tmp_path, *lines).host == host


# From the tests of terraform-provider-aws, which agree with Amazon's own script.
@pytest.mark.parametrize(
    ("key", "region", "password"),
    [
        ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
        ("another+secret+key", "eu-central-1", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"),
        ("some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
        ("another+secret+key", "us-west-1", "BKVmjjMDFk/qqw8EROW99bjCS65PF8WKvK5bSr4Y6EqF"),
    ],
)
def test_the_password_for_ses_is_made_of_the_secret_access_key(
    key: str, region: str, password: str, tmp_path: Path
) -> None:
    assert smtp_password(Secret(key.encode()), region).reveal().decode() == password
    made = route(tmp_path, 'provider = "ses"', f'region = "{region}"', 'login = "AK"', f'secret_access_key = "{key}"')
    assert made.password_secret == Secret(password.encode())
    assert key not in repr(made)
    assert key not in str(made.model_dump(mode="json"))


def test_postmarks_token_is_login_and_password(tmp_path: Path) -> None:
    made = route(tmp_path, 'provider = "postmark"', 'password = "tok-en"')
    assert (made.login_name, made.login) == ("tok-en", "")
    assert "tok-en" not in repr(made)
    assert route(tmp_path, 'provider = "postmark"', 'login = "PM-T"', 'password = "x"').login_name == "PM-T"
    assert route(tmp_path, 'provider = "brevo"', 'password = "x"').login_name == ""


def test_routes_with_one_login_at_one_host_have_one_pace(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.toml"
    again = HEAD.partition("[[route]]")[2].replace('"out"', '"{}"')
    path.write_text(
        HEAD
        + 'provider = "gmail"\nlogin = "a@gmail.com"\n[[route]]'
        + again.format("two")
        + 'provider = "gmail"\nlogin = "a@gmail.com"\n[[route]]'
        + again.format("three")
        + 'provider = "gmail"\nlogin = "b@gmail.com"\n[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n'
    )
    made = list(routes(load(path, {}), paces=PaceFile(tmp_path / "pace")).values())
    one, two, three, box = [None if each.pace is None else each.pace.limits for each in made]
    assert one == two
    assert three is not None
    assert three.subject != one.subject if one else False
    assert three.messages_per_day == 500
    assert box is None


def test_the_slower_of_second_and_minute_is_the_pace(tmp_path: Path) -> None:
    def limits(*lines: str) -> tuple[float, float]:
        path = tmp_path / "gatepost.toml"
        path.write_text(HEAD + 'host = "192.0.2.1"\n' + "\n".join(lines))
        (made,) = routes(load(path, {}), paces=PaceFile(tmp_path / "pace")).values()
        assert made.pace is not None
        return made.pace.limits.per_second, made.pace.limits.window

    assert limits() == (0, 1)
    assert limits("messages_per_second = 5") == (5, 1)
    assert limits("messages_per_minute = 30") == (0.5, 60)
    assert limits("messages_per_second = 5", "messages_per_minute = 30") == (0.5, 60)
    assert limits("messages_per_second = 1", "messages_per_minute = 90") == (1, 1)


def test_every_problem_with_a_provider_is_named_at_its_key(tmp_path: Path) -> None:
    def problems(*lines: str) -> list[str]:
        path = tmp_path / "gatepost.toml"
        path.write_text(HEAD + "\n".join(lines))
        found = check(load(path, {})).problems
        return [line.partition("route.")[2] for line in found if "route." in line]

    assert problems('provider = "gmail"') == ["login: is missing; Gmail takes mail only from who logs in"]
    assert problems('provider = "google-relay"') == problems('provider = "mta"') == []
    assert problems('provider = "gmail"', 'host = "192.0.2.1"') == []


def test_the_documentation_has_a_row_and_a_section_for_each() -> None:
    text = DOCS.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(PROVIDERS)
    for name, provider in PROVIDERS.items():
        cells = rows[name]
        for key in ("host", "connections", "messages_per_second", "messages_per_minute", "messages_per_day"):
            value = provider.keys.get(key)
            assert value is None or (f"{value:,}" if isinstance(value, int) else f"`{value}`") in cells, (name, key)
        for key in ("recipients_per_day", "recipients_per_message"):
            value = provider.keys.get(key)
            assert value is None or f"{value:,}" in cells, (name, key)
        for host in provider.hosts.values():
            assert f"`{host}`" in cells
        assert f"`{name}`" in text.partition("## ")[2], f"no section tells of {name}"
