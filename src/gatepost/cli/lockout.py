"""``gatepost account failures`` and ``unlock``: who failed to log in too often, and how to let them in again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.state.database import Database

__all__ = ["failures", "unlock"]

_COLUMNS = ("kind", "value", "failures", "limit", "locked")


@click.command()
@click.option("--locked", is_flag=True, help="Only those whose logins are not judged now.")
@config_option
@json_option
def failures(config: Config, locked: bool, as_json: bool) -> None:
    """List addresses, networks and logins of whom logins failed lately, the most failures first."""
    from gatepost.parts import login_limits
    from gatepost.state.lockouts import lockouts

    with _state(config) as database:
        found = lockouts(database, login_limits(config), time.time())
    print_rows(
        [
            {
                "kind": each.kind,
                "value": each.value,
                "failures": each.failures,
                "limit": each.limit or None,
                "locked": each.is_locked,
            }
            for each in found
            if each.is_locked or not locked
        ],
        _COLUMNS,
        as_json,
    )


@click.command()
@click.argument("login", required=False)
@click.option("--address", metavar="IP", default="", help="Forget the failures of this address and its network.")
@config_option
def unlock(config: Config, login: str | None, address: str) -> None:
    """Forget failed logins: those of LOGIN from everywhere, those of an address, or both."""
    import ipaddress

    from gatepost.errors import Malformed
    from gatepost.sasl.prepare import prepare_name
    from gatepost.state.lockouts import forget

    if not login and not address:
        raise click.UsageError("Name a login, or an address with --address.")
    try:
        if address:
            ipaddress.ip_address(address)
        name = prepare_name(login) if login else ""
    except Malformed as error:
        raise click.BadParameter(f"is no login: {error.reason}", param_hint="LOGIN") from None
    except ValueError:
        raise click.BadParameter("is no IP address", param_hint="--address") from None
    with _state(config) as database:
        forgiven = forget(database, address=address, login=name)
    remark("no failed logins are known" if not forgiven else f"forgiven: {forgiven}")
    raise SystemExit(0 if forgiven else 1)


@contextlib.contextmanager
def _state(config: Config) -> Iterator[Database]:
    from gatepost.errors import StateUnavailable
    from gatepost.state.database import Database
    from gatepost.state.node import STATE_FILE

    path = config.state_dir / STATE_FILE
    if not path.exists():
        raise Told(f"{path}: there is none; nobody has failed to log in, or the server never ran")
    database = Database(path)
    try:
        database.open()
        yield database
    except StateUnavailable as error:
        raise Told(str(error)) from None
    finally:
        database.close()
