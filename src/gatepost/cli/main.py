"""The command line's front door: a table of verbs, each imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from gatepost import __version__
from gatepost.cli.group import Group
from gatepost.cli.output import Told
from gatepost.errors import GatepostError

__all__ = ["VERBS", "Verbs", "gatepost", "main"]

VERBS = {
    "serve": "gatepost.cli.serve:serve",
    "check": "gatepost.cli.check:check",
    "config": "gatepost.cli.config:config",
    "account": "gatepost.cli.account:account",
    "credential": "gatepost.cli.credential:credential",
    "queue": "gatepost.cli.queue:queue",
    "route": "gatepost.cli.route:route",
    "explain": "gatepost.cli.explain:explain",
    "oauth": "gatepost.cli.oauth:oauth",
    "status": "gatepost.cli.status:status",
    "health": "gatepost.cli.health:health",
    "tail": "gatepost.cli.tail:tail",
    "reload": "gatepost.cli.reload:reload",
    "backup": "gatepost.cli.backup:backup",
    "send": "gatepost.cli.send:send",
    "audit": "gatepost.cli.audit:audit",
    "dkim": "gatepost.cli.dkim:dkim",
    "cert": "gatepost.cli.cert:cert",
    "demo": "gatepost.cli.demo:demo",
}


class Verbs(Group):
    """A group whose commands are named in a table and imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        target = VERBS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; trouble that we know becomes lines for the user, never a traceback."""
        try:
            return super().invoke(ctx)
        except GatepostError as error:
            raise Told(str(error)) from error


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gatepost", message="%(prog)s %(version)s")
def gatepost() -> None:
    """An authenticating SMTP submission server."""


def main() -> None:
    """Run the command line.  Exits with 0 done, 1 nothing done or found wrong, 2 wrong use."""
    sys.exit(gatepost.main(prog_name="gatepost", standalone_mode=True))
