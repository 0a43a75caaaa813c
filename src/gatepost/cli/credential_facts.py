"""What verbs about credentials print, and what they ask of the configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.account import listener_mechanisms
from gatepost.cli.output import print_row, remark
from gatepost.cli.times import said, utc

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.identity.credentials import CredentialRow, Rules
    from gatepost.state.last_used import ClientUse, Use

__all__ = ["facts_of", "print_line", "remark_on_retiring", "rules_of", "use_of", "user_facts", "users_of", "uses_of"]


def print_line(facts: dict[str, Any], line: str, as_json: bool) -> None:
    """Print a row as JSON, or *line* alone."""
    if as_json:
        print_row(facts, as_json)
    else:
        click.echo(line)


def rules_of(config: Config) -> Rules:
    """Return what the server is set to."""
    from gatepost.identity.credentials import Rules
    from gatepost.identity.verifiers import Argon2
    from gatepost.sasl.outside import mechanism_names

    hashing = config.auth.argon2
    return Rules(
        mechanism_names(config.auth.mechanisms),
        listener_mechanisms(config),
        Argon2(memory_bytes=hashing.memory_bytes, passes=hashing.passes, lanes=hashing.lanes),
    )


def uses_of(config: Config) -> Mapping[tuple[str, str], Use]:
    """Return when credentials were last used, by account and id."""
    from gatepost.errors import StateUnavailable
    from gatepost.state.last_used import read_uses
    from gatepost.state.node import STATE_FILE

    try:
        return read_uses(config.state_dir / STATE_FILE)
    except StateUnavailable as error:
        remark(f"When credentials were last used is not known: {error}")
        return {}


def use_of(uses: Mapping[tuple[str, str], Use], row: CredentialRow) -> dict[str, Any]:
    """Return the columns about the last login."""
    use = uses.get((row.login, row.id))
    if use is None:
        return {"last_used": None, "last_use": None}
    how = {"address": use.address, "mechanism": use.mechanism, "tls": use.tls, "client": use.client, "logins": use.uses}
    return {"last_used": utc(use.time), "last_use": how}


def facts_of(row: CredentialRow) -> dict[str, Any]:
    """Return the columns of a credential."""
    return {
        "id": row.id,
        "login": row.login,
        "label": row.label,
        "state": row.state(time.time()),
        "origin": row.origin,
        "mechanisms": row.mechanisms,
        "listeners": row.listeners,
        "networks": row.networks,
        "senders": row.senders,
        "recipients": row.recipients,
        "messages_per_minute": row.messages_per_minute,
        "sandbox": row.sandbox,
        "verifiers": row.schemes,
        "created": utc(row.created),
        "not_before": utc(row.not_before),
        "expires": utc(row.expires),
        "successor": row.successor,
        "revoked": utc(row.revoked),
    }


def users_of(config: Config, rows: Sequence[CredentialRow], now: float) -> dict[str, Sequence[ClientUse]]:
    """Return who still uses those that are being rotated, by id: the clients that came since."""
    from gatepost.errors import StateUnavailable
    from gatepost.state.last_used import read_clients
    from gatepost.state.node import STATE_FILE

    retiring = [row for row in rows if row.state(now) == "retiring"]
    try:
        clients = read_clients(config.state_dir / STATE_FILE, [(row.login, row.id) for row in retiring])
    except StateUnavailable:
        # That is told where the last use is asked for.
        return {}
    return {
        row.id: [each for each in clients.get((row.login, row.id), ()) if each.time > (row.rotated or 0.0)]
        for row in retiring
    }


def user_facts(users: Sequence[ClientUse]) -> list[dict[str, Any]]:
    """Return them as JSON shows them."""
    return [
        {"address": each.address, "client": each.client, "mechanism": each.mechanism, "last_used": utc(each.time)}
        for each in users
    ]


def remark_on_retiring(rows: Sequence[CredentialRow], users: Mapping[str, Sequence[ClientUse]]) -> None:
    """Say of each credential that is being rotated when it ends, and who has not gone over to the new one."""
    for row in rows:
        if row.id not in users:
            continue
        if not users[row.id]:
            remark(f"{row.id} ends {said(row.expires)}; nobody has used it since {row.successor} took its place")
            continue
        remark(f"{row.id} ends {said(row.expires)}, {row.successor} takes its place; still used by:")
        for each in users[row.id]:
            client = f" as {each.client}" if each.client else ""
            remark(f"  {each.address}{client} with {each.mechanism}, last {said(each.time)}")
