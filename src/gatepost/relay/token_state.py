"""What a route's tokens are good for: read from what was written down, the same for workers and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.relay.oauth_client import SOON, STATES, OAuthClient
from gatepost.relay.token_answer import Away, Granted, Refused
from gatepost.state.token_store import Tokens

__all__ = ["TokenState", "fitting", "is_due", "is_usable", "remedy", "settled", "state_of"]

_RENEW_AT: Final = 0.8
_MARGIN, _MARGIN_SHARE = 30.0, 0.05
_AWAY, _AWAY_LIMIT = 5.0, 300.0
_REFUSED, _REFUSED_LIMIT = 60.0, 900.0
_LOGIN: Final = "run: gatepost oauth login {route}"
_REMEDIES: Final = {
    "invalid_client": "client_id or client_secret is wrong, or the secret has expired: make a new one at the issuer, "
    "put it into client_secret_file and run gatepost reload",
    "unauthorized_client": "the issuer does not let this client have tokens this way: allow it there, or correct grant",
    "invalid_scope": "correct scopes, or allow them to this client at the issuer",
    "unsupported_grant_type": "the issuer has no such grant: correct grant or token_url",
    "invalid_grant": "correct login, client_id and token_url",
}
_OTHERWISE: Final = "see whether token_url, client_id and tenant are right"


@dataclass(frozen=True, slots=True)
class TokenState:
    """How a route's tokens are.

    Args:
        state: one of `STATES`.
        reason: why, and what to do; empty for a valid token.
        expires_at: when the access token ends; None if there is none.
        retry_at: when the issuer is asked again; None without trouble.
        secret_expires: when the client secret ends; None if that is not known.
    """

    state: str
    reason: str = ""
    expires_at: float | None = None
    retry_at: float | None = None
    secret_expires: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether mail goes out with it."""
        return self.state in STATES[:2]


def fitting(tokens: Tokens, client: OAuthClient) -> Tokens:
    """Return what of *tokens* is for *client*: those of another are never sent, and other scopes need another token."""
    if not tokens.client:
        return tokens
    if tokens.client != client.fingerprint:
        return Tokens(client.fingerprint, client.scope)
    if tokens.scopes != client.scope:
        return Tokens(client.fingerprint, client.scope, tokens.refresh_token)
    return tokens


def is_usable(tokens: Tokens, now: float) -> bool:
    """Tell whether the access token is good for a login that begins now."""
    margin = min(_MARGIN, (tokens.expires_at - tokens.issued_at) * _MARGIN_SHARE)
    return bool(tokens.access_token) and now < tokens.expires_at - margin


def is_due(tokens: Tokens, now: float) -> bool:
    """Tell whether the access token is to be renewed: at 80 % of its life."""
    renew_at = tokens.issued_at + (tokens.expires_at - tokens.issued_at) * _RENEW_AT
    return not tokens.access_token or not tokens.issued_at <= now + _MARGIN or now >= renew_at


def settled(tokens: Tokens, answer: Granted | Refused | Away, *, now: float, after_refusal: bool) -> Tokens:
    """Return *tokens* as they are after that answer."""
    if isinstance(answer, Granted):
        return Tokens(
            tokens.client,
            tokens.scopes,
            answer.refresh_token or tokens.refresh_token,
            answer.access_token,
            now,
            now + answer.lifetime,
            tokens.asked_at,
            now,
            after_refusal=after_refusal,
            warned_at=tokens.warned_at,
        )
    failures = tokens.failures + 1
    if isinstance(answer, Away):
        trouble, pause = "away", max(_grown(_AWAY, failures, _AWAY_LIMIT), answer.retry_after)
    else:
        trouble, pause = "revoked" if answer.is_revoked else "refused", _grown(_REFUSED, failures, _REFUSED_LIMIT)
    # A token that the next hop refused is of no use, whatever the issuer says now.
    access_token = type(tokens.access_token)(b"") if after_refusal else tokens.access_token
    return Tokens(
        tokens.client,
        tokens.scopes,
        tokens.refresh_token,
        access_token,
        tokens.issued_at,
        tokens.expires_at,
        tokens.asked_at,
        now,
        trouble,
        answer.reason,
        failures,
        now + pause,
        tokens.after_refusal,
        tokens.warned_at,
    )


def state_of(route: str, tokens: Tokens, client: OAuthClient, now: float) -> TokenState:
    """Say how the tokens of *route* are."""
    tokens = fitting(tokens, client)
    expires_at = tokens.expires_at if tokens.access_token else None
    retry_at = tokens.retry_at if tokens.trouble else None
    state, reason = _state(route, tokens, client, now)
    return TokenState(state, reason, expires_at, retry_at, client.secret_expires)


def _state(route: str, tokens: Tokens, client: OAuthClient, now: float) -> tuple[str, str]:
    if not client.is_itself and not tokens.refresh_token:
        return "not logged in", f"there is no refresh token for this client yet; {_LOGIN.format(route=route)}"
    if tokens.trouble in ("revoked", "refused"):
        return tokens.trouble, f"{tokens.reason}; {remedy(route, tokens, client)}"
    if tokens.trouble == "away" and not is_usable(tokens, now):
        return "refreshing", f"the issuer is away ({tokens.reason}); it is asked again by itself"
    if tokens.settled_at < tokens.asked_at or not is_usable(tokens, now):
        return "refreshing", "the issuer is being asked for an access token"
    if client.secret_expires is not None and now > client.secret_expires - SOON:
        when = "has expired" if now > client.secret_expires else "ends soon"
        return "secret expires soon", (
            f"the client secret {when}: make a new one at the issuer, put it into client_secret_file, note its end in "
            "client_secret_expires and run gatepost reload"
        )
    return "valid", f"the issuer is away ({tokens.reason}); it is asked again by itself" if tokens.trouble else ""


def remedy(route: str, tokens: Tokens, client: OAuthClient) -> str:
    """Say what to do about a refusal of the issuer."""
    if tokens.trouble == "revoked" and not client.is_itself:
        return _LOGIN.format(route=route)
    return _REMEDIES.get(tokens.reason.partition(":")[0], _OTHERWISE)


def _grown(first: float, times: int, limit: float) -> float:
    return float(min(first * 2 ** min(times - 1, 16), limit))
