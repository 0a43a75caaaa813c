"""``gatepost credential rotate``, ``expire`` and ``restrict``: change a credential that stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.account import open_accounts, remark_on_withheld
from gatepost.cli.credential_facts import facts_of, print_line, rules_of
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import remark
from gatepost.cli.times import MOMENT, SPAN, said, utc

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["expire", "restrict", "rotate"]

_LIFTED = ("mechanisms", "listeners", "networks", "senders", "recipients", "rate", "not-before", "sandbox")
_COLUMNS = {"rate": "messages_per_minute", "not-before": "not_before"}


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--overlap", type=SPAN, default="30d", show_default=True, metavar="30d", help="So long both work.")
@click.option("--retire-unused", type=SPAN, metavar="7d", help="End the old one when unused for so long.")
@click.option("--expires", type=MOMENT, metavar="90d|DATE", help="When the new one ends; it lives as long as the old.")
@click.option("--short", is_flag=True, help="Make a shorter secret, for devices that are hard to type on.")
@json_option
@config_option
def rotate(
    config: Config,
    identifier: str,
    overlap: float,
    retire_unused: float | None,
    expires: float | None,
    short: bool,
    as_json: bool,
) -> None:
    """Put a new secret in the place of credential ID and print it, once; the old one works on during the overlap."""
    from gatepost.identity.rotation import rotate_credential
    from gatepost.state.keys import load_keys

    if retire_unused is not None and not retire_unused:
        raise click.BadParameter("must be longer than nothing; see --overlap 0d", param_hint="--retire-unused")
    old, new, secret = rotate_credential(
        open_accounts(config),
        load_keys(config.secret_key_file),
        rules_of(config),
        identifier,
        now=time.time(),
        overlap=overlap,
        retire_unused=retire_unused,
        expires=expires,
        short=short,
    )
    shown = secret.reveal().decode()
    facts = {**facts_of(new), "secret": shown, "replaces": old.id, "replaced_ends": utc(old.expires)}
    print_line(facts, shown, as_json)
    remark(f"Credential {new.id} of {new.login}.  Its secret is not kept and cannot be shown again.")
    remark(
        f"It takes the place of {old.id}, which works until {said(old.expires)}: gatepost credential list {new.login}"
    )


@click.command()
@click.argument("identifier", metavar="ID")
@click.argument("when", type=MOMENT, required=False, metavar="90d|DATE")
@click.option("--now", "at_once", is_flag=True, help="At once.")
@click.option("--never", is_flag=True, help="It does not; a rotation is called off.")
@json_option
@config_option
def expire(config: Config, identifier: str, when: float | None, at_once: bool, never: bool, as_json: bool) -> None:
    """Say when the credential ID ends."""
    from gatepost.identity.rotation import expire_credential

    if (when is not None) + at_once + never != 1:
        raise click.UsageError("Say when: a span such as 90d, a date, --now or --never.")
    now = time.time()
    row = expire_credential(open_accounts(config), identifier, now if at_once else when, now=now)
    print_line(facts_of(row), row.id, as_json)
    remark(f"of {row.login}, ends {said(row.expires)}")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--mechanism", "mechanisms", multiple=True, metavar="M", help="Only with this SASL mechanism.")
@click.option("--listener", "listeners", multiple=True, metavar="L", help="Only on this listener.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from this network.")
@click.option("--sender", "senders", multiple=True, metavar="PATTERN", help="Only as this sender, of the account's.")
@click.option("--recipient", "recipients", multiple=True, metavar="PATTERN", help="Only to this recipient.")
@click.option("--rate", "messages_per_minute", type=click.IntRange(min=1), metavar="N", help="Messages in a minute.")
@click.option("--not-before", type=MOMENT, metavar="1d|DATE", help="From then on only.")
@click.option("--sandbox", is_flag=True, help="Its mail goes to a sandbox only.")
@click.option("--lift", multiple=True, type=click.Choice(_LIFTED), help="Take this restriction away.")
@click.option("--force", is_flag=True, help="Even if a mechanism can then be offered to nobody on a listener.")
@json_option
@config_option
def restrict(
    config: Config, identifier: str, lift: tuple[str, ...], force: bool, as_json: bool, sandbox: bool, **asked: Any
) -> None:
    """Change what the credential ID may be used for: what is given takes the place of what was; the rest stays."""
    from gatepost.identity.rotation import restrict_credential

    given = {name: value for name, value in asked.items() if value}
    if sandbox:
        given["sandbox"] = True
    if "mechanisms" in given:
        given["mechanisms"] = [each.upper() for each in given["mechanisms"]]
    lifted = {_COLUMNS.get(each, each) for each in lift}
    if not given and not lifted:
        raise click.UsageError("Name at least one restriction, or one to --lift.")
    both = sorted(lifted & given.keys())
    if both:
        raise click.UsageError(f"{', '.join(both)}: cannot be given and lifted at once.")
    row = restrict_credential(
        open_accounts(config), rules_of(config), identifier, given, now=time.time(), lift=lifted, force=force
    )
    print_line(facts_of(row), row.id, as_json)
    if force:
        remark_on_withheld(config)
