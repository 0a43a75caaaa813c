"""``gatepost account``: who may log in, and as whom they may write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.account_change import change
from gatepost.cli.account_import import import_
from gatepost.cli.group import Group
from gatepost.cli.lockout import failures, unlock
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import print_row, print_rows, remark
from gatepost.cli.times import MOMENT, utc

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.identity.accounts import AccountRow
    from gatepost.identity.database import AccountsDatabase

__all__ = ["account", "has_accounts", "listener_mechanisms", "open_accounts", "remark_on_withheld"]

_COLUMNS = (
    "login",
    "state",
    "suspended_until",
    "reason",
    "senders",
    "max_message_bytes",
    "max_recipients",
    "null_sender",
    "contact",
    "credentials",
    "created",
)


@click.group(cls=Group)
def account() -> None:
    """Say who may log in, and as whom they may write."""


for _verb in (change, import_, failures, unlock):
    account.add_command(_verb)


@account.command()
@click.argument("login")
@click.option("--sender", "senders", multiple=True, metavar="PATTERN", help="name@domain, *@domain or *; the login.")
@click.option("--max-message-bytes", type=click.IntRange(min=1), metavar="N", help="Largest message.")
@click.option("--max-recipients", type=click.IntRange(min=1), metavar="N", help="Recipients of one message.")
@click.option("--null-sender/--no-null-sender", default=None, help="May it use the null reverse-path?")
@click.option("--contact", default="", metavar="ADDRESS", help="Who is to be told of it; named in warnings.")
@config_option
def add(
    config: Config,
    login: str,
    senders: tuple[str, ...],
    max_message_bytes: int | None,
    max_recipients: int | None,
    null_sender: bool | None,
    contact: str,
) -> None:
    """Add an account for LOGIN; it can be used once it has a credential."""
    from gatepost.identity.accounts import add_account
    from gatepost.state.keys import load_keys

    database = open_accounts(config, make=True)
    added = add_account(
        database,
        load_keys(config.secret_key_file),
        login,
        now=time.time(),
        senders=senders,
        max_message_bytes=max_message_bytes,
        max_recipients=max_recipients,
        null_sender=null_sender,
        iterations=config.auth.scram_iterations,
        contact=contact,
    )
    click.echo(added.login)
    if not added.senders:
        remark(
            f"It is no address, so it may write as nobody until: gatepost account change {added.login} --sender PATTERN"
        )
    remark(f"It has no credential yet; make one: gatepost credential add {added.login}")


@account.command("list")
@json_option
@config_option
def list_(config: Config, as_json: bool) -> None:
    """List all accounts."""
    from gatepost.identity.accounts import list_accounts

    rows = list_accounts(open_accounts(config)) if has_accounts(config) else []
    print_rows([_facts(each) for each in rows], _COLUMNS, as_json)


@account.command()
@click.argument("login")
@json_option
@config_option
def show(config: Config, login: str, as_json: bool) -> None:
    """Show the account LOGIN."""
    from gatepost.identity.accounts import show_account

    print_row(_facts(show_account(open_accounts(config), login)), as_json)


@account.command()
@click.argument("login")
@click.option("--reason", default="", metavar="TEXT", help="Why; for the log, never for the client.")
@config_option
def disable(config: Config, login: str, reason: str) -> None:
    """Let LOGIN in no more, until it is enabled."""
    _set_state(config, login, active=False, reason=reason)


@account.command()
@click.argument("login")
@click.option("--until", type=MOMENT, required=True, metavar="3d|DATE", help="When it may log in again.")
@click.option("--reason", default="", metavar="TEXT", help="Why; for the log, never for the client.")
@config_option
def suspend(config: Config, login: str, until: float, reason: str) -> None:
    """Let LOGIN in no more until some time; it is let in again by itself."""
    _set_state(config, login, active=True, reason=reason, suspended_until=until)


@account.command()
@click.argument("login")
@click.argument("address", required=False, default="")
@config_option
def contact(config: Config, login: str, address: str) -> None:
    """Say who is to be told of LOGIN; nobody if ADDRESS is left out."""
    from gatepost.identity.accounts import set_contact

    click.echo(set_contact(open_accounts(config), login, address).login)


@account.command()
@click.argument("login")
@config_option
def enable(config: Config, login: str) -> None:
    """Let LOGIN in again."""
    _set_state(config, login, active=True)
    remark_on_withheld(config)


@account.command()
@click.argument("login")
@config_option
def remove(config: Config, login: str) -> None:
    """Remove the account LOGIN with all its credentials."""
    from gatepost.identity.accounts import remove_account

    removed = remove_account(open_accounts(config), login)
    click.echo(removed.login)
    remark(f"removed, with {removed.credentials} credential{'' if removed.credentials == 1 else 's'}")


def _set_state(
    config: Config, login: str, *, active: bool, reason: str = "", suspended_until: float | None = None
) -> None:
    from gatepost.identity.accounts import prepared_login, set_state

    database = open_accounts(config)
    if not set_state(database, login, active=active, reason=reason, suspended_until=suspended_until):
        remark(f"{login}: is so already")
        raise SystemExit(1)
    click.echo(prepared_login(login))


def has_accounts(config: Config) -> bool:
    """Tell whether there is an accounts database."""
    store = config.accounts_store
    return store is not None and (store.type == "postgres" or store.path.exists())


def open_accounts(config: Config, *, make: bool = False) -> AccountsDatabase:
    """Return the accounts database, brought up to date if need be.

    Args:
        config: says where it is.
        make: make it if there is none.

    Raises:
        AccountProblem: there is none.
        StoreUnavailable: its server cannot be asked.
    """
    from gatepost.identity.accounts import AccountProblem

    store = config.accounts_store
    if store is None:
        raise AccountProblem(
            "accounts are kept elsewhere: none of the stores in the configuration is of type sqlite or postgres"
        )
    if make:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database: AccountsDatabase
    if store.type == "postgres":
        from gatepost.identity.postgres_database import PostgresDatabase

        database = PostgresDatabase(store.server)
    else:
        from gatepost.identity.database import Database

        if not make and not store.path.exists():
            raise AccountProblem(f"{store.path}: there are no accounts yet; add one: gatepost account add LOGIN")
        database = Database(store.path)
    if not database.is_current():
        from gatepost.identity.migrate import upgrade

        upgrade(database)
    return database


def listener_mechanisms(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the mechanisms that are on, by name of the listener."""
    return {each.name: each.mechanisms or config.auth.mechanisms for each in config.listener}


def remark_on_withheld(config: Config) -> None:
    """Say which mechanisms are on but not offered, and which credentials stand in their way."""
    for each in open_accounts(config).withheld(listener_mechanisms(config), time.time()):
        names = ", ".join(f"{one.account} ({one.credential})" for one in each.obstacles)
        remark(f"{each.mechanism} is not offered on {each.listener}, for want of a verifier: {names}")


def _facts(row: AccountRow) -> dict[str, Any]:
    state = row.state_at(time.time())
    return {
        "login": row.login,
        "state": state,
        "suspended_until": utc(row.suspended_until),
        "reason": row.state_reason if state != "active" else "",
        "senders": row.senders,
        "max_message_bytes": row.max_message_bytes,
        "max_recipients": row.max_recipients,
        "null_sender": row.null_sender,
        "contact": row.contact,
        "credentials": row.credentials,
        "created": utc(row.created),
    }
