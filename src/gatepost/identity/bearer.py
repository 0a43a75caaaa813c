"""Access tokens that clients bring: which issuer judges them, and JWT checked by its keys (RFC 7515, RFC 8725).

A JWT goes to the issuer that it names, and to no other; a token that names none goes to the issuers that are asked
about tokens.  The check of an RSA signature takes about 50 us and is done on the loop's thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from gatepost.errors import StoreUnavailable
from gatepost.identity.introspection import Introspection
from gatepost.identity.issuer import Issuer, judge
from gatepost.identity.jwks import Key, KeySource
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret

__all__ = ["TokenVerifier"]

_TOKEN_LIMIT: Final = 16_384
_KEYS_TRIED: Final = 4
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt", "application/jwt"})


class TokenVerifier:
    """Judges access tokens of several issuers."""

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._issuers: Final[Mapping[str, Issuer]] = {each.issuer: each for each in issuers}
        self._asked = [(each, each.source) for each in issuers if isinstance(each.source, Introspection)]
        self._clock = clock
        # RFC 7515 §4: header parameters that we do not know are ignored, but for those named by "crit".
        self._registries = {
            each.issuer: JWSRegistry(algorithms=list(each.algorithms), strict_check_header=False) for each in issuers
        }
        for registry in self._registries.values():
            registry.max_header_length = 4096  # some issuers put a whole certificate into it
        # What clients are told whose token names no issuer of ours; of several, they are told none.
        self._scope = " ".join(dict.fromkeys(each.scope for each in issuers if each.scope))
        self._configuration = issuers[0].configuration if len(issuers) == 1 else ""

    async def verify(self, token: Secret) -> TokenSubject | TokenInvalid:
        """Say whose *token* is.

        Raises:
            StoreUnavailable: its issuer cannot be asked, and must be.
        """
        octets = token.reveal()
        if not octets or len(octets) > _TOKEN_LIMIT:
            return self._invalid("token is empty or too long")
        parts = _unverified(octets)
        name = parts[1].get("iss") if parts is not None else None
        if isinstance(name, str) and (issuer := self._issuers.get(name)) is not None:
            if isinstance(issuer.source, Introspection):
                return await issuer.source.verify(token, issuer)
            assert parts is not None
            return await self._check(octets, parts[0], issuer, issuer.source)
        if self._asked and not isinstance(name, str):
            return await self._ask_all(token)
        return self._invalid("token is no signed JWT" if parts is None else "token of an unknown issuer")

    def trusts(self, issuer: str) -> bool:
        """Tell whether tokens of *issuer* are taken."""
        return issuer in self._issuers

    def review(self) -> bool:
        """Begin to ask about the tokens of open sessions; tell whether one has ceased to count since the last call."""
        has_ended = False
        for issuer, source in self._asked:
            has_ended = source.review(issuer) or has_ended
        return has_ended

    def close(self) -> None:
        """Let go of connections."""
        for each in self._issuers.values():
            each.source.close()

    def _invalid(self, reason: str) -> TokenInvalid:
        return TokenInvalid(reason, self._scope, self._configuration)

    async def _ask_all(self, token: Secret) -> TokenSubject | TokenInvalid:
        """Ask every issuer about a token that does not say whose it is, at once: a slow one holds up no yes."""
        if len(self._asked) == 1:
            ((issuer, source),) = self._asked
            return await source.verify(token, issuer)
        waiting = {asyncio.create_task(source.verify(token, issuer)) for issuer, source in self._asked}
        trouble: StoreUnavailable | None = None
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                subject: TokenSubject | None = None
                for task in done:
                    try:
                        judged = task.result()
                    except StoreUnavailable as error:
                        trouble = error
                    else:
                        subject = judged if isinstance(judged, TokenSubject) else subject
                if subject is not None:
                    return subject
        finally:
            for task in waiting:
                task.cancel()
        if trouble is not None:
            raise trouble
        return self._invalid("token not active, say all issuers that were asked")

    async def _check(
        self, token: bytes, header: Mapping[str, Any], issuer: Issuer, source: KeySource
    ) -> TokenSubject | TokenInvalid:
        # RFC 7515 §4.1.11: we know no critical extension, so a token that has one is refused.
        if "crit" in header:
            return issuer.invalid("token is no signed JWT")
        algorithm, kid = header.get("alg"), header.get("kid")
        # RFC 8725 §3.1: the algorithm is one that we allow, whatever the token says.
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            return issuer.invalid("token signed with an algorithm that is not allowed")
        if kid is not None and not isinstance(kid, str):
            return issuer.invalid("token with a bad key id")
        found = await source.find(kid)
        keys = _fitting(found, algorithm)
        claims = self._claims(token, keys, issuer)
        if claims is None and found:
            # A key may have been replaced by another of the same id, or of none.
            others = [each for each in _fitting(await source.search(kid), algorithm) if each not in keys]
            claims = self._claims(token, others, issuer)
            keys += others
        if claims is None:
            return issuer.invalid("token with a bad signature" if keys else "token signed with an unknown key")
        # RFC 8725 §3.11: a token made for something else, such as a logout or a security event, says so in "typ".
        kind = header.get("typ", "")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            return issuer.invalid("token is no access token")
        return judge(claims, issuer, self._clock.now(), needs_expiry=True)

    def _claims(self, token: bytes, keys: Sequence[Key], issuer: Issuer) -> Mapping[str, Any] | None:
        for key in keys:
            try:
                decoded = jwt.decode(token, key, list(issuer.algorithms), self._registries[issuer.issuer])
            except (JoseError, ValueError, TypeError, RecursionError):
                continue
            # What was signed is what its issuer was looked up by.
            return decoded.claims if decoded.claims.get("iss") == issuer.issuer else None
        return None


def _unverified(token: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return header and claims of *token*, only to learn which key to look for."""
    parts = token.split(b".")
    if len(parts) != 3:
        return None
    try:
        header, payload = (json.loads(urlsafe_b64decode(part)) for part in parts[:2])
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        return None
    return header, payload


def _fitting(keys: Sequence[Key], algorithm: str) -> list[Key]:
    return [each for each in keys if _fits(each, algorithm)][:_KEYS_TRIED]


def _fits(key: Key, algorithm: str) -> bool:
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return False
    match key:
        case RSAKey():
            return algorithm[:2] in {"RS", "PS"}
        case ECKey():
            return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}.get(key.curve_name) == algorithm
        case OKPKey():
            return key.curve_name == algorithm
