"""Read what an issuer answers when it is asked for a token: granted, refused or away; no I/O (RFC 6749 §5).

Nothing of an answer is kept but tokens and a short reason, and no reason holds a secret of ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gatepost.model.identity import Secret

__all__ = ["Answer", "Away", "Granted", "Refused", "read_answer", "read_object"]

Answer = tuple[int, bytes, float]
"""Status, body, and after how many seconds it wants to be asked again (0 if it did not say)."""

_TOKEN_LIMIT: Final = 16_384
_REASON_LIMIT: Final = 300
_LIFE, _LIFE_LIMIT = 3600.0, 366 * 86400.0
# RFC 6749 §A.12, §A.17: a token is printable ASCII; a space in it would end it in the header.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_CODE: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,100}")
# Microsoft and OpenID Connect: somebody has to be there again.
_REVOKED: Final = frozenset({"invalid_grant", "interaction_required", "consent_required", "login_required"})
_AWAY: Final = frozenset({"temporarily_unavailable", "server_error", "rate_limit_exceeded"})


@dataclass(frozen=True, slots=True)
class Granted:
    """It gave an access token.

    Args:
        access_token: the token.
        lifetime: for how many seconds it is good.
        refresh_token: the next one to be used; None if the old one stays.
    """

    access_token: Secret
    lifetime: float
    refresh_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It gave none.

    Args:
        error: its code, such as ``invalid_grant``; the status, if it gave none.
        reason: what it said.
        is_revoked: whether what somebody granted is gone, and must be granted again.
    """

    error: str
    reason: str
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class Away:
    """It cannot be asked now.

    Args:
        reason: why.
        retry_after: how many seconds it wants to be left alone; 0 if it did not say.
    """

    reason: str
    retry_after: float = 0.0


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that *body* is, or None."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_answer(answer: Answer, hidden: Iterable[Secret]) -> Granted | Refused | Away:
    """Say what an answer of the token endpoint means; *hidden* must not show in any reason."""
    status, body, retry_after = answer
    document = read_object(body)
    error = document.get("error") if document is not None else None
    if status == 429 or status >= 500 or (isinstance(error, str) and error in _AWAY):
        return Away(_words(f"status {status}", document, hidden), retry_after)
    if status == 200 and document is not None and error is None:
        return _granted(document)
    if status == 200:
        return Away("status 200 without a token")
    if isinstance(error, str) and _CODE.fullmatch(error):
        return Refused(error, _words(error, document, hidden), is_revoked=error in _REVOKED)
    if 300 <= status < 400:
        return Refused(f"status {status}", f"status {status}: redirects are not followed")
    return Refused(f"status {status}", f"status {status}")


def _granted(document: dict[str, Any]) -> Granted | Away:
    access, refresh = document.get("access_token"), document.get("refresh_token")
    if not isinstance(access, str) or not _is_token(access) or (refresh and not _is_token(refresh)):
        return Away("status 200 without a token that could be used")
    # RFC 6749 §7.1: a token of a kind that we do not know is not used.
    if str(document.get("token_type", "Bearer")).lower() != "bearer":
        return Away("its token is no bearer token")
    return Granted(
        Secret(access.encode()), _lifetime(document.get("expires_in")), Secret(refresh.encode()) if refresh else None
    )


def _is_token(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TOKEN_LIMIT and _TOKEN.fullmatch(value) is not None


def _lifetime(value: object) -> float:
    """Return for how long a token is good; some write the number as text, and some none."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else _LIFE
    except (ValueError, OverflowError):
        return _LIFE
    return min(seconds, _LIFE_LIMIT) if math.isfinite(seconds) and seconds > 0 else _LIFE


def _words(first: str, document: dict[str, Any] | None, hidden: Iterable[Secret]) -> str:
    """Return what is said, in one line, without what must not show."""
    said: dict[str, Any] = document or {}
    error, description = said.get("error"), said.get("error_description")
    if isinstance(error, dict):  # Google's way of saying that it is too much
        error, description = said["error"].get("status"), said["error"].get("message")
    parts = [each for each in (error, description) if isinstance(each, str) and each != first]
    text = ": ".join((first, *parts))
    for secret in hidden:
        if secret:
            text = text.replace(secret.reveal().decode("utf-8", "replace"), "***")
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _REASON_LIMIT else line[: _REASON_LIMIT - 4] + " ..."
