"""Access tokens that their issuer is asked about (RFC 7662): opaque ones too, and revoked ones are noticed.

A yes is remembered for a while and not past the token's expiry, by a keyed hash of the token; a no never is.  Tokens of
open sessions are asked about again, so that a session whose token was revoked ends within a bounded time; while the
issuer is away it goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import weakref
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.issuer import Issuer, judge, seconds
from gatepost.identity.issuer_http import IssuerHttp
from gatepost.identity.strict_json import parse_json
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.model.standing import Standing

__all__ = ["Introspection"]

_REVIEWS_AT_ONCE: Final = 8
_REVIEW_PAUSE: Final = 5.0
_LEAST_INTERVAL: Final = 1.0


class _Held(Standing):
    """The token of open sessions."""

    __slots__ = ("due", "is_asked", "name", "token")

    def __init__(self, token: Secret, name: str, due: float) -> None:
        super().__init__()
        self.token, self.name, self.due = token, name, due
        self.is_asked = False


class Introspection:
    """Asks one issuer about tokens.

    Args:
        endpoint: says where; raises `OSError` or `ValueError` when that is not known.
        http: how it is asked.
        client_id: our name there.
        client_secret: proves it.
        key: hides the tokens that are remembered.
        clock: what time it is.
        cache_seconds: how long a yes is remembered, and how often the tokens of open sessions are asked about.
        cache_entries: how many are remembered.
        tell: hears why the issuer is away, and "" when it is back.
    """

    def __init__(
        self,
        endpoint: Callable[[], Awaitable[str]],
        http: IssuerHttp,
        client_id: str,
        client_secret: Secret,
        *,
        key: bytes,
        clock: Clock,
        cache_seconds: float = 60.0,
        cache_entries: int = 10_000,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._endpoint, self._http, self._clock = endpoint, http, clock
        self._client_id, self._client_secret, self._key = client_id, client_secret, key
        self._cache_seconds, self._cache_entries, self._tell = cache_seconds, cache_entries, tell
        self._known: OrderedDict[bytes, tuple[float, TokenSubject]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[TokenSubject | TokenInvalid]] = {}
        self._held: weakref.WeakValueDictionary[bytes, _Held] = weakref.WeakValueDictionary()
        self._reviews: set[asyncio.Task[None]] = set()
        self._overdue: deque[bytes] = deque()
        self._has_ended = False
        self._problem = ""

    async def verify(self, token: Secret, issuer: Issuer) -> TokenSubject | TokenInvalid:
        """Say whose *token* is.

        Raises:
            StoreUnavailable: the issuer cannot be asked.
        """
        tag = self._tag(token)
        known = self._known.get(tag)
        if known is not None and self._clock.monotonic() < known[0]:
            judged: TokenSubject | TokenInvalid = known[1]
        else:
            judged = await self._ask(tag, token, issuer)
        if isinstance(judged, TokenInvalid):
            return judged
        return dataclasses.replace(judged, standing=self._hold(tag, token, judged.name))

    def review(self, issuer: Issuer) -> bool:
        """Begin to ask about the tokens of open sessions whose time has come.

        Returns:
            Whether one of them has ceased to count since the last call.
        """
        now = self._clock.monotonic()
        due = [(held.due, tag) for tag, held in list(self._held.items()) if self._is_due(held, now)]
        # Whose time came first is first, so that of many nobody's turn never comes.
        self._overdue = deque([tag for _, tag in sorted(due)])
        # One is enough to notice that the issuer is back.
        at_once = 1 if self._problem else _REVIEWS_AT_ONCE
        for _ in range(min(at_once - len(self._reviews), len(due))):
            task = asyncio.create_task(self._review(issuer))
            self._reviews.add(task)
            task.add_done_callback(self._reviews.discard)
        has_ended, self._has_ended = self._has_ended, False
        return has_ended

    def close(self) -> None:
        """Let go of what is open."""
        for task in (*self._reviews, *self._asking.values()):
            task.cancel()
        self._http.close()

    def _tag(self, token: Secret) -> bytes:
        return hashlib.blake2b(token.reveal(), key=self._key, digest_size=32).digest()

    def _hold(self, tag: bytes, token: Secret, name: str) -> _Held:
        held = self._held.get(tag)
        if held is None or held.ended:
            held = self._held[tag] = _Held(token, name, self._clock.monotonic() + self._interval)
        return held

    def _settle(self, tag: bytes, judged: TokenSubject | TokenInvalid) -> None:
        """Let open sessions know what was said of their token."""
        held = self._held.get(tag)
        if held is None or held.ended:
            return
        held.due = self._clock.monotonic() + self._interval
        if isinstance(judged, TokenInvalid):
            held.ended = judged.reason
        elif judged.name != held.name:
            held.ended = "token of another login"
        self._has_ended = self._has_ended or bool(held.ended)

    @property
    def _interval(self) -> float:
        return max(self._cache_seconds, _LEAST_INTERVAL)

    @staticmethod
    def _is_due(held: _Held, now: float) -> bool:
        return held.due <= now and not held.is_asked and not held.ended

    async def _review(self, issuer: Issuer) -> None:
        """Ask about one token after the other until none is due, or the issuer is away."""
        while self._overdue:
            tag = self._overdue.popleft()
            held = self._held.get(tag)
            if held is None or not self._is_due(held, self._clock.monotonic()):
                continue
            held.is_asked = True
            try:
                await self._ask(tag, held.token, issuer)
            except StoreUnavailable:
                held.due = self._clock.monotonic() + _REVIEW_PAUSE
                return
            finally:
                held.is_asked = False

    async def _ask(self, tag: bytes, token: Secret, issuer: Issuer) -> TokenSubject | TokenInvalid:
        """Ask, once for all who bring the same token at the same time."""
        task = self._asking.get(tag)
        if task is None:
            task = self._asking[tag] = asyncio.create_task(self._inquire(tag, token, issuer))
            task.add_done_callback(lambda _task: self._asking.pop(tag, None))
            # Whoever waits may be gone before it ends.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(task)

    async def _inquire(self, tag: bytes, token: Secret, issuer: Issuer) -> TokenSubject | TokenInvalid:
        # RFC 7662 §2.1: the token, and what we take it for, in a form; we must prove who we are.
        form = {"token": token.reveal().decode("ascii", "replace"), "token_type_hint": "access_token"}
        try:
            octets = await self._http.post(await self._endpoint(), form, self._client_id, self._client_secret)
            claims = _parse(octets)
        except (OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
            self._change(problem)
            raise StoreUnavailable(f"{issuer.issuer} cannot be asked about a token: {problem}") from None
        self._change("")
        judged = _judged(claims, issuer, self._clock.now())
        if isinstance(judged, TokenSubject):
            self._remember(tag, judged, claims)
        else:
            self._known.pop(tag, None)
        self._settle(tag, judged)
        return judged

    def _remember(self, tag: bytes, subject: TokenSubject, claims: Mapping[str, Any]) -> None:
        # RFC 7662 §4: an answer must not be kept past the expiry that it names.
        expires = seconds(claims.get("exp"))
        lasts = self._cache_seconds
        if expires is not None:
            lasts = min(lasts, expires - self._clock.now())
        if lasts <= 0 or self._cache_entries <= 0:
            self._known.pop(tag, None)
            return
        now = self._clock.monotonic()
        self._known[tag] = (now + lasts, subject)
        self._known.move_to_end(tag)
        while self._known:
            first = next(iter(self._known))
            if len(self._known) <= self._cache_entries and self._known[first][0] > now:
                break
            del self._known[first]

    def _change(self, problem: str) -> None:
        was, self._problem = self._problem, problem
        if bool(was) != bool(problem) and self._tell is not None:
            self._tell(problem)


def _parse(octets: bytes) -> Mapping[str, Any]:
    try:
        claims = parse_json(octets)
    except ValueError as error:
        raise ValueError(f"its answer {error}") from None
    # RFC 7662 §2.2: "active" is there, and true or false; anything else is no answer.
    if not isinstance(claims, dict) or not isinstance(claims.get("active"), bool):
        raise ValueError('its answer does not say whether the token is "active"')
    return claims


def _judged(claims: Mapping[str, Any], issuer: Issuer, now: float) -> TokenSubject | TokenInvalid:
    # RFC 7662 §2.2: false covers expired, revoked, and never issued.
    if claims["active"] is not True:
        return issuer.invalid("token not active, says its issuer")
    if claims.get("iss") not in (None, issuer.issuer):
        return issuer.invalid("token of another issuer")
    return judge(claims, issuer, now, needs_expiry=False)
