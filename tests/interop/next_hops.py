"""A real gatepost with every real next hop that runs here, each with a domain of its own, and somebody who submits.

What comes from the account's second sender goes to the same next hops with a wrong password, where they want one.
"""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from interop.mailboxes import Aiosmtpd, DovecotHop, DovecotLmtp
from interop.postfix_hops import MECHANISMS, PostfixHop, postfix_hops
from interop.unpacked import LOGIN as HOP_LOGIN
from interop.unpacked import PASSWORD, Chasquid, Exim
from servers import Authority, Gatepost, wait_for

__all__ = ["LOCKED", "LOGIN", "SPOILT", "WITH_LOGIN", "Hop", "Station"]

LOGIN, LOCKED = "tim@sender.example", "tim@locked.example"
SPOILT = "spoilt"
WITH_LOGIN = ("exim", "chasquid", "aiosmtpd", *MECHANISMS)

_USERS = ("ann", "bob", "jörg")
_SMARTHOST = 'transport = "smarthost"\nhost = "localhost"\nport = {hop.port}\nca_file = "{ca}"\n'
_ROUTES = {
    "dovecot-socket": 'transport = "lmtp"\nsocket = "{hop.server.socket}"\n',
    "dovecot-tcp": 'transport = "lmtp"\nhost = "127.0.0.1"\nport = {hop.server.port}\ntls = "none"\n',
}


class Hop(Protocol):
    """A next hop that tells what came."""

    @property
    def domain(self) -> str: ...

    def messages(self, recipient: str) -> list[bytes]: ...

    def log(self) -> str: ...


@contextlib.contextmanager
def _dovecot() -> Iterator[dict[str, Hop]]:
    domains = {"dovecot-socket": "socket.next.example", "dovecot-tcp": "tcp.next.example"}
    server = DovecotLmtp(tuple(domains.values()), *_USERS, SPOILT)
    for domain in domains.values():
        server.spoil(f"{SPOILT}@{domain}")
    with server:
        yield {name: DovecotHop(domain, server) for name, domain in domains.items()}


@contextlib.contextmanager
def _alone(name: str, hop: contextlib.AbstractContextManager[Hop]) -> Iterator[dict[str, Hop]]:
    with hop as running:
        yield {name: running}


class Station:
    """It runs within its block."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._authority = authority
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._hops: dict[str, Hop] = {}
        self._missing: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._run_all(stack)
            routes = "".join(self._route(name, hop) for name, hop in self._hops.items())
            self.gatepost = Gatepost(
                self._folder / "gatepost",
                self._authority,
                routes + '[[route]]\nname = "rest"\ntransport = "discard"\n',
                tables="[limits]\nconnections_per_minute = 0\nmessages_per_minute = 0\n",
            )
            self._secret = self.gatepost.add_account(LOGIN, LOGIN, LOCKED)
            stack.enter_context(self.gatepost)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _run_all(self, stack: contextlib.ExitStack) -> None:
        runs: Mapping[tuple[str, ...], Callable[[], contextlib.AbstractContextManager[Mapping[str, Hop]]]] = {
            ("postfix", *MECHANISMS): lambda: postfix_hops(self._authority),
            ("dovecot-socket", "dovecot-tcp"): _dovecot,
            ("exim",): lambda: _alone("exim", Exim(self._authority)),
            ("chasquid",): lambda: _alone("chasquid", Chasquid(self._authority, *_USERS)),
            ("aiosmtpd",): lambda: _alone("aiosmtpd", Aiosmtpd(self._authority)),
        }
        for names, run in runs.items():
            try:
                self._hops |= stack.enter_context(run())
            except pytest.skip.Exception as missing:
                self._missing |= dict.fromkeys(names, str(missing))

    def _route(self, name: str, hop: Hop) -> str:
        """Return the routes to a next hop; where it wants a login, the first of two brings a wrong secret."""
        route = _ROUTES.get(name, _SMARTHOST).format(hop=hop, ca=self._authority.ca)
        head = f'[[route]]\nname = "{{}}"\nmatch = {{{{ recipient_domains = ["{hop.domain}"]{{}} }}}}\n{route}'
        if name not in WITH_LOGIN:
            return head.format(name, "")
        good, bad = hop.secrets if isinstance(hop, PostfixHop) else (PASSWORD, "not this one")
        kind = "token" if name == "XOAUTH2" else "password"
        text = ""
        for prefix, secret, senders in (("locked-", bad, ', sender_domains = ["locked.example"]'), ("", good, "")):
            path = self._secret_file(f"{prefix}{name}")
            path.write_text(f"{secret}\n")
            path.chmod(0o600)
            text += head.format(f"{prefix}{name}", senders) + f'login = "{HOP_LOGIN}"\n{kind}_file = "{path}"\n\n'
        return text

    def _secret_file(self, route: str) -> Path:
        return self._folder / f"{route}.secret"

    def hop(self, name: str) -> Hop:
        """Return a next hop; skip the test that asks for one that is not here."""
        if name in self._missing:
            pytest.skip(self._missing[name])
        return self._hops[name]

    def running(self, *names: str) -> dict[str, Hop]:
        """Return those of *names* that run here."""
        return {name: self._hops[name] for name in names if name in self._hops}

    def mend(self) -> None:
        """Put the right secret where the wrong one was."""
        for name in self.running(*WITH_LOGIN):
            self._secret_file(f"locked-{name}").write_text(self._secret_file(name).read_text())

    def submit(self, content: bytes, *recipients: str, sender: str = LOGIN, smtputf8: bool = False) -> None:
        """Submit one message."""
        options = ["BODY=8BITMIME", *(["SMTPUTF8"] if smtputf8 else [])]
        with smtplib.SMTP("localhost", self.gatepost.starttls_port, timeout=60) as client:
            client.starttls(context=self._authority.client_context())
            client.login(LOGIN, self._secret)
            assert client.sendmail(sender, recipients, content, mail_options=options) == {}

    def lines(self, event: str, **facts: str) -> list[dict[str, Any]]:
        """Return the log lines about *event* whose fields begin with *facts*."""
        lines = [line for line in self.gatepost.lines() if line["event"] == event]
        return [line for line in lines if all(str(line[name]).startswith(facts[name]) for name in facts)]

    def told(self, event: str, **facts: str) -> dict[str, Any]:
        """Wait for such a line; return the first."""
        lines = self._wait(f"{event} {facts}", lambda: self.lines(event, **facts))
        return dict(lines[0])

    def arrives(self, hop: Hop, content: bytes, recipient: str) -> None:
        """Wait until *recipient* has a message that ends in *content*, octet for octet, and see that it is one."""
        mark = next(line for line in content.split(b"\r\n") if line.startswith(b"Message-ID:"))

        def found() -> list[bytes]:
            return [each for each in hop.messages(recipient) if mark in each]

        received = self._wait(f"{mark!r} for {recipient}", found, hop)
        assert len(received) == 1
        assert received[0].endswith(content), f"what arrived is not what was sent:\n{received[0][:4000]!r}"

    def _wait(self, what: str, condition: Callable[[], Any], hop: Hop | None = None) -> Any:
        try:
            return wait_for(what, condition)
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self.gatepost.output()}{hop.log()[-4000:] if hop else ''}") from error
