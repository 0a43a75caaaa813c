"""``gatepost account import``: logins that another program kept."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.identity.import_logins import Format, Line

__all__ = ["import_"]

_COLUMNS = ("line", "login", "outcome", "scheme", "reason")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format", "format_", type=click.Choice(["passwd-file", "htpasswd"]), required=True, help="Whose file it is."
)
@click.option("--domain", default="", metavar="DOMAIN", help="Logins that are no address may write as LOGIN@DOMAIN.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would be done.")
@click.option("--force", is_flag=True, help="Import even if that withdraws a mechanism until all have logged in.")
@json_option
@config_option
def import_(
    config: Config, file: Path, format_: Format, domain: str, dry_run: bool, force: bool, as_json: bool
) -> None:
    """Add accounts for the logins in FILE; the first login of each replaces its hash by ours.

    It may be done again at any time: what is there already stays as it is.
    """
    from gatepost.cli.account import has_accounts, open_accounts, remark_on_withheld
    from gatepost.cli.credential_facts import rules_of
    from gatepost.errors import Malformed
    from gatepost.identity.import_logins import import_logins
    from gatepost.model.address import parse_domain
    from gatepost.model.identity import Secret
    from gatepost.state.keys import Keys, load_keys

    octets = _read(file)
    if domain:
        try:
            domain = str(parse_domain(domain))
        except Malformed as error:
            raise click.BadParameter(f"is no domain: {error.reason}", param_hint="--domain") from None
    database = (
        open_accounts(config, make=True) if not dry_run else open_accounts(config) if has_accounts(config) else None
    )
    objections: list[str] = []
    with click.progressbar(
        length=octets.count(b"\n") + 1, label=file.name, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        lines = import_logins(
            database,
            # A dry run makes none, and shows nothing of what it would be needed for.
            Keys(Secret(bytes(32)))
            if dry_run and not config.secret_key_file.exists()
            else load_keys(config.secret_key_file),
            rules_of(config),
            octets,
            format=format_,
            now=time.time(),
            iterations=config.auth.scram_iterations,
            domain=domain,
            force=force,
            dry_run=dry_run,
            progress=bar.update,
            objection=objections.append,
        )
    _tell(lines, dry_run=dry_run, as_json=as_json)
    for objection in objections:
        remark(objection)
    if not dry_run:
        remark_on_withheld(config)
    if objections or any(each.outcome == "skipped" for each in lines):
        raise SystemExit(1)


def _read(file: Path) -> bytes:
    from gatepost.identity.stores.file import SIZE_LIMIT

    try:
        with file.open("rb") as opened:
            octets = opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise Told(f"{file}: {error.strerror}") from None
    if len(octets) > SIZE_LIMIT:
        raise Told(f"{file}: is larger than {SIZE_LIMIT >> 20} MiB; split it")
    return octets


def _tell(lines: list[Line], *, dry_run: bool, as_json: bool) -> None:
    counts = {outcome: sum(each.outcome == outcome for each in lines) for outcome in ("taken", "unchanged", "skipped")}
    weak = sum(each.is_weak and each.outcome == "taken" for each in lines)
    rows = [_facts(each) for each in lines]
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **counts, "weak": weak, "lines": rows}, indent=2))
        return
    print_rows([row for row in rows if row["outcome"] == "skipped"], _COLUMNS, False)
    remark(
        f"{counts['taken']} {'would be ' if dry_run else ''}taken, {counts['unchanged']} there already, "
        f"{counts['skipped']} skipped"
    )
    if weak:
        remark(f"{weak} of them have hashes that are soon guessed once they are stolen, until they log in")


def _facts(line: Line) -> dict[str, Any]:
    return {
        "line": line.number,
        "login": line.login,
        "outcome": line.outcome,
        "scheme": line.scheme,
        "weak": line.is_weak,
        "reason": line.reason,
    }
