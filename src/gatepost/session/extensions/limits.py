"""LIMITS: how many recipients a message may have (RFC 9422).

There is no MAILMAX and no RCPTDOMAINMAX, because neither the transactions of a session nor the domains of a message's
recipients are limited.
"""

from __future__ import annotations

from gatepost.session.extensions.extension import Extension, Moment

__all__ = ["LIMITS"]


def _announce(moment: Moment) -> str | None:
    # RFC 9422 §3: what holds now, as names with a number of 1 to 6 digits that is not 0; it may be less after AUTH.
    recipients = moment.recipients
    return f"LIMITS RCPTMAX={recipients}" if recipients is not None and 0 < recipients < 1_000_000 else None


LIMITS = Extension("LIMITS", _announce)
