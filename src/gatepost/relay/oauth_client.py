"""What we are to an issuer of access tokens: a name, a secret, and a way to get tokens; no I/O (RFC 6749)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus, urlencode

from gatepost.model.identity import Secret

__all__ = ["DEVICE_GRANT", "SOON", "STATES", "OAuthClient"]

SOON = 14 * 86400.0
"""How long before its end a client secret is warned of, in seconds."""

STATES = ("valid", "secret expires soon", "refreshing", "not logged in", "refused", "revoked", "unreadable")
"""How the tokens of a route can be, from the best to the worst."""

# RFC 8628 §3.4: the name of the device code's grant.
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A client of an issuer.

    Args:
        token_url: where tokens are asked for.
        client_id: our name there.
        secret: proves it; None for a client that cannot keep one.
        scopes: what an access token shall be good for.
        is_itself: whether the client gets tokens as itself (client credentials), and nobody logs in.
        secret_in_body: whether the secret stands in the form, and not in the header.
        secret_expires: when it ends, in seconds since the epoch; None if that is not known.
        authorize_url: where somebody grants us access in a browser.
        device_url: where that is begun without one.
        redirect_host: what the browser calls this machine when it comes back.
        extra: what the issuer wants besides, when somebody grants us access.
        ca_file: certificates to trust instead of the system's, as PEM.
        timeout: seconds that an answer may take, with everything.
    """

    token_url: str
    client_id: str
    secret: Secret | None = None
    scopes: tuple[str, ...] = ()
    is_itself: bool = False
    secret_in_body: bool = False
    secret_expires: float | None = None
    authorize_url: str = ""
    device_url: str = ""
    redirect_host: str = "127.0.0.1"
    extra: tuple[tuple[str, str], ...] = ()
    ca_file: Path | None = None
    timeout: float = 10.0

    @property
    def scope(self) -> str:
        """The scopes as one word list."""
        return " ".join(self.scopes)

    @property
    def fingerprint(self) -> str:
        """Say for whom tokens are: given to another client or by another issuer, they are not sent here."""
        return hashlib.sha256(f"{self.token_url}\0{self.client_id}\0{self.is_itself}".encode()).hexdigest()

    def renewal(self, refresh_token: Secret) -> dict[str, str]:
        """Return the form that asks for another access token."""
        if self.is_itself:
            # RFC 6749 §4.4.2: the client asks in its own name.
            return self._scoped({"grant_type": "client_credentials"})
        # RFC 6749 §6: without a scope it is that of the login.
        return {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal().decode("ascii")}

    def exchange(self, code: str, redirect: str, verifier: str) -> dict[str, str]:
        """Return the form that makes tokens of the *code* a browser brought."""
        # RFC 6749 §4.1.3: the same redirect address again; RFC 7636 §4.5: and what the challenge was made of.
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }

    def device_login(self) -> dict[str, str]:
        """Return the form that begins a login without a browser."""
        return self._scoped({"client_id": self.client_id})

    def device_poll(self, device_code: str) -> dict[str, str]:
        """Return the form that asks whether somebody has granted access meanwhile."""
        return {"grant_type": DEVICE_GRANT, "device_code": device_code}

    def authorization(self, redirect: str, state: str, verifier: str, login: str) -> str:
        """Return the address at which somebody grants us access in a browser.

        Args:
            redirect: where the browser is to come back to.
            state: what it must bring.
            verifier: what the challenge is made of.
            login: whose mailbox it is, as a hint.
        """
        # RFC 7636 §4.2: S256 is the base64url of the verifier's SHA-256, without padding.
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        question = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": login,
            **dict(self.extra),
        }
        mark = "&" if "?" in self.authorize_url else "?"
        return f"{self.authorize_url}{mark}{urlencode(self._scoped(question))}"

    def signed(self, form: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, str] | None]:
        """Return *form* as this client sends it to the token endpoint, and name and password for the header."""
        if self.secret is None:
            # RFC 6749 §3.2.1: a client without a secret says who it is.
            return {**form, "client_id": self.client_id}, None
        secret = self.secret.reveal().decode("utf-8", "surrogateescape")
        if self.secret_in_body:
            return {**form, "client_id": self.client_id, "client_secret": secret}, None
        # RFC 6749 §2.3.1: both are encoded as in a form before they become name and password of HTTP Basic.
        return dict(form), (quote_plus(self.client_id), quote_plus(secret, errors="surrogateescape"))

    def _scoped(self, form: dict[str, str]) -> dict[str, str]:
        return {**form, "scope": self.scope} if self.scopes else form
