"""The keys of ``match`` in ``[[route]]``: which mail a route takes, and what one of them takes from another."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from gatepost.config.values import DomainPattern, Login, Size, Table, wrong
from gatepost.errors import Malformed
from gatepost.relay.match import TextPattern, sender_key

__all__ = ["HeaderMatch", "Match", "covers", "covers_domain", "idle_element"]

_FIELD_NAME = re.compile(r"[!-9;-~]{1,100}")
# They are taken out of every message before it is kept.
_NEVER_THERE = frozenset({"bcc", "resent-bcc", "return-path"})


def _check_sender(value: str) -> str:
    if "*" in value:
        raise wrong("has an asterisk; name whole domains in sender_domains")
    try:
        return sender_key(value)
    except Malformed:
        raise wrong('is no address; write one such as anna@example.org, or "<>" for the null sender') from None


def _check_field_name(value: str) -> str:
    if _FIELD_NAME.fullmatch(value) is None:
        raise wrong("is no name of a header field; write one such as X-Stream, without a colon")
    if value.lower() in _NEVER_THERE:
        raise wrong("never matches, as it is taken out of every message; name another field")
    return value


_Text = Annotated[str, StringConstraints(min_length=1)]
_Sender = Annotated[str, AfterValidator(_check_sender)]
_FieldName = Annotated[str, AfterValidator(_check_field_name)]


class HeaderMatch(Table):
    """A header field that a message must have."""

    name: _FieldName = Field(description="Name of the field.", examples=["X-Stream"])
    values: tuple[_Text, ...] = Field(
        default=("*",),
        min_length=1,
        description="What its value may be; * stands for any run of characters, and case is not looked at.",
    )


class Match(Table):
    """Which mail a route takes."""

    recipient_domains: tuple[DomainPattern, ...] = Field(
        default=(),
        min_length=1,
        description="Domains of recipients: example.org, *.example.org for what is below it, or * for every one.",
    )
    sender_domains: tuple[DomainPattern, ...] = Field(
        default=(),
        min_length=1,
        description="Domains of the reverse-path; with senders, one of the two must match.",
    )
    senders: tuple[_Sender, ...] = Field(
        default=(),
        min_length=1,
        description='Addresses of the reverse-path, in any case of letters; "<>" is the null sender.',
    )
    accounts: tuple[Login, ...] = Field(default=(), min_length=1, description="Logins of those who submitted it.")
    credentials: tuple[_Text, ...] = Field(
        default=(), min_length=1, description="Credentials it was submitted with, by id or label."
    )
    headers: tuple[HeaderMatch, ...] = Field(
        default=(),
        min_length=1,
        max_length=10,
        description='Header fields that it must have, all of them: { name = "X-Stream", values = ["bulk", "news-*"] }; '
        "* stands for any run of characters, case is not looked at, and without values any will do.",
    )
    size_over: Size | None = Field(default=None, description='Only messages larger than this, such as "10MiB".')
    size_up_to: Size | None = Field(default=None, description='Only messages that are no larger, such as "10MiB".')

    @field_validator("size_up_to")
    @classmethod
    def _some_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value == 0:
            raise wrong("takes no message, as none is empty; write a larger one")
        over = info.data.get("size_over")
        if value is not None and over is not None and value <= over:
            raise wrong("leaves no size above size_over; write a larger one")
        return value

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves any mail to others."""
        every_recipient = not self.recipient_domains or "*" in self.recipient_domains
        lists = (self.sender_domains, self.senders, self.accounts, self.credentials, self.headers)
        return not every_recipient or any(lists) or self.size_over is not None or self.size_up_to is not None


def covers(earlier: Match, later: Match) -> bool:
    """Tell whether *earlier* takes everything that *later* would.

    Where that cannot be told from the two alone, the answer is no.
    """
    return (
        _covers_recipients(earlier.recipient_domains, later.recipient_domains)
        and _covers_senders(earlier, later)
        and _covers_names(earlier.accounts, later.accounts)
        and _covers_names(earlier.credentials, later.credentials)
        and all(any(_covers_header(each, other) for other in later.headers) for each in earlier.headers)
        and (-1 if earlier.size_over is None else earlier.size_over)
        <= (-1 if later.size_over is None else later.size_over)
        and (math.inf if earlier.size_up_to is None else earlier.size_up_to)
        >= (math.inf if later.size_up_to is None else later.size_up_to)
    )


def covers_domain(earlier: str, later: str) -> bool:
    """Tell whether the pattern *earlier* takes every domain that *later* does."""
    if earlier in ("*", later):
        return True
    return earlier.startswith("*.") and later.endswith(earlier[1:])


def idle_element(match: Match) -> tuple[str, str, str] | None:
    """Return an element that takes nothing more than another of its list: the key, it, and that other; None if none.

    A header field that stands there twice is no such element: two conditions take less than one.
    """
    for key in ("recipient_domains", "sender_domains"):
        found = _idle(getattr(match, key), covers_domain)
        if found is not None:
            return key, *found
    for sender in match.senders:
        for domain in match.sender_domains:
            if _is_in_domain(sender, domain):
                return "senders", sender, domain
    for key in ("senders", "accounts", "credentials"):
        found = _idle(getattr(match, key), str.__eq__)
        if found is not None:
            return key, *found
    for header in match.headers:
        found = _idle(header.values, _covers_text)
        if found is not None:
            return "headers", *found
    return None


def _idle(values: Sequence[str], covered: Callable[[str, str], bool]) -> tuple[str, str] | None:
    for place, each in enumerate(values):
        for other_place, other in enumerate(values):
            # Of two that take the same the second is one too many.
            if covered(other, each) and (other_place < place or (other_place != place and not covered(each, other))):
                return each, other
    return None


def _covers_recipients(earlier: tuple[str, ...], later: tuple[str, ...]) -> bool:
    if not earlier or "*" in earlier:
        return True
    return bool(later) and all(any(covers_domain(each, other) for each in earlier) for other in later)


def _covers_senders(earlier: Match, later: Match) -> bool:
    if not earlier.sender_domains and not earlier.senders:
        return True
    if not later.sender_domains and not later.senders:
        return False  # it takes the null sender, too, and every domain
    domains = earlier.sender_domains
    return all(any(covers_domain(each, other) for each in domains) for other in later.sender_domains) and all(
        other in earlier.senders or any(_is_in_domain(other, each) for each in domains) for other in later.senders
    )


def _is_in_domain(sender: str, pattern: str) -> bool:
    # A pattern takes a domain as it takes itself as a pattern.
    return sender != "<>" and covers_domain(pattern, sender.rpartition("@")[2])


def _covers_names(earlier: tuple[str, ...], later: tuple[str, ...]) -> bool:
    return not earlier or (bool(later) and set(later) <= set(earlier))


def _covers_header(earlier: HeaderMatch, later: HeaderMatch) -> bool:
    return earlier.name.lower() == later.name.lower() and all(
        any(_covers_text(each, other) for each in earlier.values) for other in later.values
    )


def _covers_text(earlier: str, later: str) -> bool:
    # A star of the later one is met by a star of the earlier one only, which takes whatever stands for it.
    return TextPattern(earlier).matches(later)
