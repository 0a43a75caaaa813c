"""A group of verbs whose help shows the whole first sentence of each, on as many lines as it needs."""

from __future__ import annotations

import click

__all__ = ["Group"]

_WHOLE = 1000


class Group(click.Group):
    """As click's own, which cuts sentences off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what verbs there are."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, each.get_short_help_str(_WHOLE)) for name, each in commands if each and not each.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
