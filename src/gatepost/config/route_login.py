"""The keys of ``[[route.logins]]``: another login at the next hop for mail from some domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator

from gatepost.config.locate import Key
from gatepost.config.route_match import covers_domain
from gatepost.config.values import DomainPattern, SecretField, SecretFileField, Table, wrong

if TYPE_CHECKING:
    from gatepost.config.check import Findings
    from gatepost.config.routes import HostRoute

__all__ = ["SECRETS", "SenderLogin", "check_logins", "one_secret"]

SECRETS = ("password", "password_file", "token", "token_file")
"""The keys of a route that hold what its own login is proven with: no other login may use them."""

DERIVED = ("secret_access_key", "secret_access_key_file", "oauth")
"""Keys of a route of which the password or token of its own login is made."""


def one_secret(value: object, info: ValidationInfo) -> object:
    """Refuse a second one of `SECRETS` in a table."""
    before = [name for name in SECRETS if info.data.get(name) is not None]
    if value is not None and before:
        raise wrong(f"stands beside {before[0]}; keep one of the two")
    return value


class SenderLogin(Table):
    """A login for mail from some domains."""

    sender_domains: tuple[DomainPattern, ...] = Field(
        min_length=1, description="Domains of the reverse-path.", examples=[["example.org"]]
    )
    login: str = Field(min_length=1, description="Name to log in with.", examples=["postmaster@example.org"])
    password: SecretField | None = Field(default=None, description="Password.", examples=["…"])
    password_file: SecretFileField | None = Field(
        default=None, description="File that holds the password.", examples=["/etc/gatepost/example.org.password"]
    )
    token: SecretField | None = Field(default=None, description="OAuth access token.", examples=["…"])
    token_file: SecretFileField | None = Field(
        default=None, description="File that holds an OAuth access token.", examples=["/etc/gatepost/example.org.token"]
    )

    _one_secret = field_validator(*SECRETS[1:])(one_secret)

    @property
    def name(self) -> str:
        """What sets its way apart from the others of the route."""
        return self.sender_domains[0]

    def of_route(self) -> dict[str, Any]:
        """Return what the keys of the route are for it: nothing is left of what proves another login."""
        return {"login": self.login, **{name: getattr(self, name, None) for name in (*SECRETS, *DERIVED)}}


def check_logins(route: HostRoute, key: Key, findings: Findings) -> None:
    """Look at the logins of *route*."""
    if not route.logins:
        return
    if route.certificate is not None:
        findings.wrong((*key, "logins"), "stands beside certificate, which would log in for all; keep one of the two")
    if route.tls == "none":
        findings.wrong((*key, "tls"), 'would send a secret in clear; write "starttls" or "implicit"')
    elif not route.verify:
        findings.wrong((*key, "verify"), "would give a secret to anybody; write true, and name a private CA in ca_file")
    seen: list[str] = []
    for number, each in enumerate(route.logins):
        place: Key = (*key, "logins", number)
        if all(getattr(each, name) is None for name in SECRETS):
            findings.wrong((*place, "login"), "has neither password nor token; add password_file")
        for domain in each.sender_domains:
            other = next((other for other in seen if covers_domain(other, domain)), None)
            if other is not None:
                text = f'holds "{domain}" without effect, as "{other}" takes all that already; remove it'
                findings.wrong((*place, "sender_domains"), text)
            elif not _is_of(route, domain):
                text = f'holds "{domain}" without effect, as the route takes no mail from there; remove it'
                findings.wrong((*place, "sender_domains"), text)
            seen.append(domain)


def _is_of(route: HostRoute, domain: str) -> bool:
    """Tell whether mail from *domain* may be among what the route takes."""
    match = route.match
    if not match.sender_domains and not match.senders:
        return True
    return any(covers_domain(each, domain) or covers_domain(domain, each) for each in match.sender_domains) or any(
        covers_domain(domain, each.rpartition("@")[2]) for each in match.senders if each != "<>"
    )
