"""What is measured: a server on one kind of store, and somebody of each class who must hear the same no."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import Authority, Gatepost
from timing.trying import Bearer
from tokens import AUDIENCE, ISSUER, Signer, jwks

__all__ = ["PASSWORD_MECHANISMS", "STORES", "TOKEN_MECHANISMS", "Subject", "sqlite"]

PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")

_LIMITS = """\
[limits]
connections = 20000
connections_per_address = 20000
connections_per_minute = 0
failed_logins_per_address = 1000000
failed_logins_per_network = 1000000
failed_logins_per_login = 1000000
"""
_CHOSEN = "Ygg-plover-7-granite"
_CHOSEN_WRONG = "Ygg-plover-8-granite"
_YEAR = 365 * 86_400


@dataclass(frozen=True)
class Subject:
    """A running server.

    Args:
        server: it.
        bearers: for each class somebody who comes with a mechanism; whoever has no account is another one each time.
        reference: the class that the others are laid beside.
        token_bearers: the same for access tokens.
        token_reference: the class that those are laid beside.
    """

    server: Gatepost
    bearers: Mapping[str, Callable[[str], Bearer]]
    reference: str
    token_bearers: Mapping[str, Callable[[str], Bearer]]
    token_reference: str


@contextmanager
def sqlite(folder: Path, authority: Authority, auth: str) -> Iterator[Subject]:
    """Run a server on SQLite."""
    signer = Signer("ES256")
    keys = folder / "jwks.json"
    keys.write_bytes(jwks(signer.public()))
    mechanisms = json.dumps([*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS])
    server = Gatepost(
        folder / "gatepost",
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{folder / "mail"}"\n',
        tables=f'{_LIMITS}\n[[oauth.issuers]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "{keys}"\n',
        auth=f"mechanisms = {mechanisms}\n{auth}",
    )
    accounts = _Accounts(server)
    bearers = accounts.make()
    tokens = _tokens(accounts, signer)
    with server:
        yield Subject(server, bearers, "wrong secret, generated", tokens, "wrong signature")


class _Accounts:
    """Makes accounts by the command line, as an operator does."""

    def __init__(self, server: Gatepost) -> None:
        self._server = server
        self._count = 0

    def make(self) -> dict[str, Callable[[str], Bearer]]:
        """Return somebody of each class."""
        _, _, spare = self._add("spare")
        wrong, _, _ = self._add("wrong")
        chosen = self._account("chosen")
        self._server.run("credential", "add", chosen, "--secret-stdin", secret=_CHOSEN)
        bearers = {
            "wrong secret, generated": _always(Bearer(wrong, spare)),
            "wrong secret, chosen": _always(Bearer(chosen, _CHOSEN_WRONG)),
            "unknown": lambda _: Bearer(self._nobody(), spare),
        }
        for name, words in (
            ("not valid yet", ("--not-before", "90d")),
            ("wrong network", ("--network", "192.0.2.0/24")),
            ("wrong listener", ("--listener", "submission")),
            ("canary", ("--canary",)),
        ):
            login, _, secret = self._add(name, *words)
            bearers[name] = _always(Bearer(login, secret))
        for name, verb, words in (
            ("disabled", ("account", "disable"), ()),
            ("suspended", ("account", "suspend"), ("--until", "90d")),
        ):
            login, _, secret = self._add(name)
            self._server.run(*verb, login, *words)
            bearers[name] = _always(Bearer(login, secret))
        for name, verb in (("expired", ("expire", "--now")), ("revoked", ("revoke",))):
            login, identifier, secret = self._add(name)
            self._server.run("credential", *verb, identifier)
            bearers[name] = _always(Bearer(login, secret))
        for_plain, for_login = self._add_for("PLAIN"), self._add_for("LOGIN")
        bearers["wrong mechanism"] = lambda mechanism: for_login if mechanism == "PLAIN" else for_plain
        return bearers

    def _account(self, name: str) -> str:
        login = f"{name.replace(' ', '-')}@example.org"
        self._server.run("account", "add", login)
        return login

    def _add(self, name: str, *words: str) -> tuple[str, str, str]:
        login = self._account(name)
        said = json.loads(self._server.run("credential", "add", login, *words, "--json"))
        return login, said["id"], said["secret"]

    def _add_for(self, mechanism: str) -> Bearer:
        login, identifier, secret = self._add(f"only {mechanism.lower()}")
        # Restricted afterwards, so that it has all verifiers, and no mechanism is withdrawn.
        self._server.run("credential", "restrict", identifier, "--mechanism", mechanism)
        return Bearer(login, secret)

    def _nobody(self) -> str:
        self._count += 1
        return f"nobody{self._count:08}@example.org"


def _always(bearer: Bearer) -> Callable[[str], Bearer]:
    return lambda _: bearer


def _tokens(accounts: _Accounts, signer: Signer) -> dict[str, Callable[[str], Bearer]]:
    """Return somebody of each class that a token can be of; tokens are signed beforehand."""
    now, forger = time.time(), Signer(signer.algorithm, signer.kid)

    def bearer(login: str, by: Signer = signer, **claims: float) -> Callable[[str], Bearer]:
        token = by.token(now, **{"sub": login, "exp": now + _YEAR, **claims}).decode()
        return _always(Bearer(login, token))

    nobody = [bearer(accounts._nobody()) for _ in range(64)]
    return {
        "wrong signature": bearer("wrong@example.org", forger),
        "unknown": lambda mechanism: nobody[accounts._count % 64 if accounts._nobody() else 0](mechanism),
        "disabled": bearer("disabled@example.org"),
        "suspended": bearer("suspended@example.org"),
        "expired": bearer("wrong@example.org", exp=now - 3600.0),
        "not valid yet": bearer("wrong@example.org", nbf=now + _YEAR / 2),
    }


STORES: Mapping[str, Callable[[Path, Authority, str], AbstractContextManager[Subject]]] = {"sqlite": sqlite}
"""By the type of the store; each takes a folder, who makes certificates, and what stands in ``[auth]``."""
