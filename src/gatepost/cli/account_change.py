"""``gatepost account change``: whom an account may write as, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.options import config_option
from gatepost.cli.output import remark

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["change"]

_LIFTED = ("senders", "max-message-bytes", "max-recipients", "null-sender")


@click.command()
@click.argument("login")
@click.option("--sender", "senders", multiple=True, metavar="PATTERN", help="May write as name@domain, *@domain or *.")
@click.option("--max-message-bytes", type=click.IntRange(min=1), metavar="N", help="Largest message.")
@click.option("--max-recipients", type=click.IntRange(min=1), metavar="N", help="Recipients of one message.")
@click.option("--null-sender/--no-null-sender", default=None, help="May it use the null reverse-path?")
@click.option(
    "--lift", multiple=True, type=click.Choice(_LIFTED), help="As if never given: what holds for all, or the login."
)
@config_option
def change(config: Config, login: str, lift: tuple[str, ...], **asked: Any) -> None:
    """Change what LOGIN may do: what is given takes the place of what was; the rest stays.

    All senders are given anew, also those that stay.  It holds in open sessions, too, from the next message on.
    """
    from gatepost.cli.account import open_accounts
    from gatepost.identity.accounts import change_account

    given = {name: value for name, value in asked.items() if value is not None and value != ()}
    lifted = {each.replace("-", "_") for each in lift}
    if not given and not lifted:
        raise click.UsageError("Name at least one option, or one to --lift.")
    both = sorted(lifted & given.keys())
    if both:
        raise click.UsageError(f"{', '.join(both)}: cannot be given and lifted at once.")
    changed = change_account(open_accounts(config), login, given, lifted)
    click.echo(changed.login)
    if not changed.senders:
        remark(f"{changed.login} is no address, so it may not write as anybody; say whom with --sender")
