"""``gatepost oauth``: let a route have access tokens, and see how those that it has are doing."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.group import Group
from gatepost.cli.node import act_as_owner, ask_workers, check_state_dir, is_running
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark
from gatepost.errors import Unavailable

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.relay.oauth_client import OAuthClient
    from gatepost.relay.token_state import TokenState
    from gatepost.state.token_store import TokenStore

__all__ = ["oauth", "token_rows"]

_COLUMNS = ("route", "state", "expires", "retry", "secret_expires", "reason")


@click.group(cls=Group)
def oauth() -> None:
    """Get access tokens for routes with [route.oauth], and show how they are."""


@oauth.command()
@click.argument("route")
@click.option("--device", is_flag=True, help="Without a browser on this machine: type a code into one elsewhere.")
@click.option("--paste", is_flag=True, help="Without a browser on this machine: bring back the address it ends at.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where the browser comes back to on this machine, if the issuer wants to know; else any that is free.",
)
@config_option
def login(config: Config, route: str, device: bool, paste: bool, port: int | None) -> None:
    """Let ROUTE have access tokens, and use them at once.

    Follow the address that is shown in a browser on this machine, sign in as the mailbox that sends, and agree.  From a
    server without a browser use --device; where the issuer has no such thing (Google), use --paste, or ssh -L with
    --port.

    A client that logs in as itself (client_credentials) needs nobody: its token is got, to see whether it can be.
    """
    from gatepost.cli import oauth_login
    from gatepost.relay.token_endpoint import TokenEndpoint
    from gatepost.state.keys import load_keys
    from gatepost.state.token_store import TokenStore

    client, name = _client(config, route)
    if device and paste:
        raise Told("--device and --paste: use one of the two")
    check_state_dir(config.state_dir)
    try:
        endpoint = TokenEndpoint(client)
    except OSError as error:
        raise Told(f"route {route}: ca_file cannot be used: {error}; give PEM files") from None
    act_as_owner(config.state_dir)
    store = TokenStore(config.state_dir, load_keys(config.secret_key_file))
    way = oauth_login.Way(client, endpoint, name, click.echo)
    try:
        if client.is_itself:
            work = way.as_itself()
        elif device:
            work = way.by_device()
        elif paste:
            work = way.by_pasting(lambda: click.prompt("Address", err=True))
        else:
            work = way.by_browser(port or 0)
        expires = asyncio.run(_get(work, store, route, client))
    except OSError as error:
        raise Told(f"route {route}: the issuer cannot be asked: {error.strerror or error}") from None
    until = dt.datetime.fromtimestamp(expires, dt.UTC).isoformat(timespec="seconds")
    click.echo(f"route {route}: has an access token until {until}, and gets the next ones by itself.")
    _tell_workers(config, route)


async def _get(work: Any, store: TokenStore, route: str, client: OAuthClient) -> float:
    """Do *work*; keep what it brings."""
    from gatepost.state.token_store import Tokens

    granted = await work
    now = time.time()
    tokens = Tokens(
        client.fingerprint,
        client.scope,
        granted.refresh_token or Tokens().refresh_token,
        granted.access_token,
        now,
        now + granted.lifetime,
        now,
        now,
    )
    async with store.renewing(route, 2 * client.timeout + 5.0):
        await store.write(route, tokens)
    return tokens.expires_at


def _tell_workers(config: Config, route: str) -> None:
    if not is_running(config.state_dir):
        return
    answers = ask_workers(config, {"verb": "routes", "probe": route, "logged_in": True}, changes=True)
    for answer in answers.values():
        if isinstance(answer, Unavailable):
            remark(f"{answer}; it takes this up by itself within seconds")


@oauth.command()
@config_option
@json_option
def status(config: Config, as_json: bool) -> None:
    """Show how the access tokens of the routes are; exits with 1 if mail cannot go out with one of them.

    \b
    valid                mail goes out
    secret expires soon  it does, but the client secret ends within two weeks, or has ended
    refreshing           a token is being got; where the issuer is away, it is asked again by itself
    not logged in        run: gatepost oauth login ROUTE
    refused              the issuer refuses our client: the reason says what to correct
    revoked              what was granted is gone: run gatepost oauth login ROUTE
    unreadable           our own files cannot be used
    """
    check_state_dir(config.state_dir)
    rows = token_rows(config)
    print_rows([row | {name: _moment(row[name]) for name in _COLUMNS[2:5]} for row in rows], _COLUMNS, as_json)
    if not rows and not as_json:
        remark("no route has [route.oauth]")
    raise SystemExit(0 if all(row["good"] for row in rows) else 1)


def token_rows(config: Config) -> list[dict[str, Any]]:
    """Return how the tokens of each route are, as they are written down: with a server, or without."""
    from gatepost.config.routes import HostRoute
    from gatepost.errors import ConfigError
    from gatepost.state.keys import load_keys
    from gatepost.state.token_store import TokenStore

    clients = {each.name: each.oauth.client for each in config.route if isinstance(each, HostRoute) and each.oauth}
    if not clients:
        return []
    try:
        store = TokenStore(config.state_dir, load_keys(config.secret_key_file, create=False))
    except ConfigError as error:
        raise Told(str(error)) from None
    return [_row(name, _state(store, name, client)) for name, client in clients.items()]


def _row(name: str, state: TokenState) -> dict[str, Any]:
    return {
        "route": name,
        "state": state.state,
        "expires": state.expires_at,
        "retry": state.retry_at,
        "secret_expires": state.secret_expires,
        "reason": state.reason,
        "good": state.is_good,
    }


def _state(store: TokenStore, name: str, client: OAuthClient) -> TokenState:
    from gatepost.relay.oauth_client import STATES
    from gatepost.relay.token_state import TokenState, state_of

    try:
        return state_of(name, store.read_now(name), client, time.time())
    except Unavailable as error:
        return TokenState(STATES[-1], str(error), secret_expires=client.secret_expires)


def _moment(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(round(seconds), dt.UTC)


def _client(config: Config, name: str) -> tuple[OAuthClient, str]:
    """Return what *name* is to its issuer, and whose mailbox it sends from."""
    from gatepost.config.routes import HostRoute

    found = {each.name: each for each in config.route if isinstance(each, HostRoute) and each.oauth is not None}
    if name not in found:
        if any(each.name == name for each in config.route):
            raise Told(f"{name}: has no [route.oauth]; see docs/oauth-out.md")
        raise Told(f"{name}: is no route; there are with [route.oauth]: {', '.join(found) or 'none'}")
    route = found[name]
    assert route.oauth is not None
    return route.oauth.client, route.login
