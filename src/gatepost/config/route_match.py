"""The keys of ``match`` in ``[[route]]``: which mail a route takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gatepost.config.values import DomainPattern, Table

__all__ = ["Match", "covers"]


class Match(Table):
    """Which mail a route takes."""

    recipient_domains: tuple[DomainPattern, ...] = Field(
        default=(),
        description="Domains of recipients: example.org, *.example.org for what is below it, or * for every one.",
    )
    sender_domains: tuple[DomainPattern, ...] = Field(default=(), description="Domains of the reverse-path.")
    accounts: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        default=(), description="Logins of those who submitted it."
    )

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves any mail to others."""
        every_recipient = not self.recipient_domains or "*" in self.recipient_domains
        return not every_recipient or bool(self.sender_domains or self.accounts)


def covers(earlier: Match, later: Match) -> bool:
    """Tell whether *earlier* takes everything that *later* would."""
    return (
        _covers_domains(earlier.recipient_domains, later.recipient_domains)
        and _covers_domains(earlier.sender_domains, later.sender_domains)
        and (not earlier.accounts or (bool(later.accounts) and set(later.accounts) <= set(earlier.accounts)))
    )


def _covers_domains(earlier: tuple[str, ...], later: tuple[str, ...]) -> bool:
    if not earlier or "*" in earlier:
        return bool(later) or not earlier
    below = tuple(pattern[1:] for pattern in earlier if pattern.startswith("*."))
    return bool(later) and all(pattern in earlier or pattern.endswith(below) for pattern in later)
