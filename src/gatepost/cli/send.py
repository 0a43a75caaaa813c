"""``gatepost send``: log in to the running server with each mechanism it offers, and send a test message each time."""

from __future__ import annotations

import dataclasses
import ssl
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, printable
from gatepost.cli.talk import Refused, Talk
from gatepost.errors import Malformed
from gatepost.model.address import Mailbox, parse_mailbox
from gatepost.model.identity import Secret
from gatepost.sasl.client import MECHANISMS, ClientMechanism, Credentials

if TYPE_CHECKING:
    from gatepost.config.schema import Config, Listener

__all__ = ["send"]

_COLUMNS = ("mechanism", "step", "ok", "reply")
_KNOWN = tuple(each for each in MECHANISMS if not each.takes_certificate)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where to connect, and which name its certificate must have."""

    address: tuple[str, int]
    implicit_tls: bool
    name: str
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class _Message:
    sender: Mailbox
    recipient: Mailbox

    def text(self, mechanism: str) -> bytes:
        return (
            f"From: <{self.sender}>\r\nTo: <{self.recipient}>\r\nSubject: gatepost test ({mechanism})\r\n\r\n"
            f"This message was sent by gatepost send, after a login with {mechanism}.\r\n"
        ).encode()


@dataclass(frozen=True, slots=True)
class _Step:
    mechanism: str
    step: str
    ok: bool
    reply: str


@click.command()
@click.option("--login", required=True, metavar="L", help="Who logs in.")
@click.option("--to", "recipient", required=True, metavar="R", help="Who gets the message.")
@click.option("--from", "sender", metavar="F", help="Who it is from; the login if not given.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input; it is asked for otherwise.")
@click.option(
    "--mechanism",
    "mechanisms",
    multiple=True,
    metavar="M",
    help="Only this; for OAUTHBEARER and XOAUTH2 the secret is a token.",
)
@click.option(
    "--listener", "listener_name", metavar="NAME", help="Which listener; the first for everybody if not given."
)
@click.option("--host", metavar="HOST", help="Where to connect, instead of the listener's address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Which port, instead of the listener's.")
@config_option
@json_option
def send(
    config: Config,
    login: str,
    recipient: str,
    sender: str | None,
    secret_stdin: bool,
    mechanisms: tuple[str, ...],
    listener_name: str | None,
    host: str | None,
    port: int | None,
    as_json: bool,
) -> None:
    """Send a test message through the running server, mechanism by mechanism.

    Each mechanism has a connection of its own.  Exits with 0 if every message was accepted.
    """
    message = _Message(_mailbox(sender or login, "--from"), _mailbox(recipient, "--to"))
    target = _target(config, _listener(config, listener_name), host, port)
    wanted = _mechanisms(mechanisms)
    secret = _secret(secret_stdin)
    steps = []
    for step in _send_all(target, wanted, login, secret, message):
        steps.append(step)
        if not as_json:
            mark = "ok" if step.ok else "NO"
            click.echo(f"{step.mechanism:<18} {step.step:<9} {mark:<3} {printable(step.reply)}")
    if as_json:
        print_rows([{name: getattr(step, name) for name in _COLUMNS} for step in steps], _COLUMNS, as_json=True)
    sys.exit(0 if steps and all(step.ok for step in steps) else 1)


def _send_all(
    target: _Target, wanted: tuple[ClientMechanism, ...], login: str, secret: Secret, message: _Message
) -> Iterator[_Step]:
    """Look what is on offer, then send once with each mechanism; yield every step."""
    offered = yield from _look(target)
    chosen = wanted or tuple(each for each in _KNOWN if each.name in offered and not each.takes_token)
    if offered and not chosen:
        yield _Step("-", "offer", False, "no mechanism that takes a password; see --mechanism")
    for mechanism in chosen:
        credentials = Credentials(
            login, token=secret if mechanism.takes_token else None, password=None if mechanism.takes_token else secret
        )
        if offered:
            yield from _send_one(target, mechanism, credentials, message)


def _look(target: _Target) -> Generator[_Step, None, frozenset[str]]:
    """Connect and see which mechanisms are offered."""
    offered: frozenset[str] = frozenset()
    step = "connect"
    try:
        with Talk(target.address, target.name, target.context, implicit_tls=target.implicit_tls) as talk:
            yield _Step("-", step, True, str(talk.greeting()))
            step = "ehlo"
            extensions = talk.ehlo()
            if not target.implicit_tls:
                step = "starttls"
                talk.start_tls()
                extensions = talk.ehlo()
            yield _Step("-", "tls", True, talk.tls)
            offered = frozenset(extensions.get("AUTH", "").upper().split())
            yield _Step("-", "offer", bool(offered), " ".join(extensions.get("AUTH", "nothing").split()))
            talk.command("QUIT")
    except (Refused, OSError) as error:
        yield _Step("-", step, False, _reason(error))
    return offered


def _send_one(
    target: _Target, mechanism: ClientMechanism, credentials: Credentials, message: _Message
) -> Iterator[_Step]:
    name, step = mechanism.name, "connect"
    try:
        with Talk(target.address, target.name, target.context, implicit_tls=target.implicit_tls) as talk:
            talk.greeting()
            extensions = talk.ehlo()
            if not target.implicit_tls:
                talk.start_tls()
                extensions = talk.ehlo()
            step = "auth"
            if mechanism.binds:
                credentials = dataclasses.replace(credentials, binding=talk.binding)
            yield _Step(name, step, True, str(talk.login(name, mechanism.start(credentials))))
            step = "mail"
            # RFC 6531 §3.4: an address beyond ASCII needs SMTPUTF8 on MAIL.
            is_ascii = message.sender.is_ascii and message.recipient.is_ascii
            if not is_ascii and "SMTPUTF8" not in extensions:
                raise Refused("an address is not ASCII, and the server does not offer SMTPUTF8")
            mail = f"MAIL FROM:<{message.sender}>{'' if is_ascii else ' BODY=8BITMIME SMTPUTF8'}"
            yield _Step(name, step, True, str(talk.expect(mail, 250)))
            step = "rcpt"
            yield _Step(name, step, True, str(talk.expect(f"RCPT TO:<{message.recipient}>", 250)))
            step = "data"
            yield _Step(name, step, True, str(talk.data(message.text(name))))
            talk.command("QUIT")
    except Malformed as error:
        yield _Step(name, step, False, f"{name} cannot carry this login and secret: {error.reason}")
    except (Refused, OSError) as error:
        yield _Step(name, step, False, _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _mailbox(text: str, option: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except Malformed as error:
        raise click.BadParameter(f"{text!r} is no address: {error.reason}", param_hint=option) from None


def _mechanisms(names: tuple[str, ...]) -> tuple[ClientMechanism, ...]:
    known = {each.name: each for each in _KNOWN}
    for name in names:
        if name.upper() not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--mechanism")
    return tuple(known[name.upper()] for name in dict.fromkeys(names))


def _secret(from_stdin: bool) -> Secret:
    if not from_stdin and not sys.stdin.isatty():
        raise click.UsageError("give the secret on standard input, with --secret-stdin")
    text = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Secret", hide_input=True, err=True)
    if not text:
        raise click.UsageError("the secret is empty")
    return Secret(text.encode())


def _listener(config: Config, name: str | None) -> Listener:
    # Rather one that anybody may connect to, and without a PROXY header.
    for listener in sorted(config.listener, key=lambda each: bool(each.proxy_networks or each.legacy_tls_networks)):
        if name in (None, listener.name):
            return listener
    known = ", ".join(listener.name for listener in config.listener)
    raise click.BadParameter(f"{name!r} is none of {known}", param_hint="--listener")


def _target(config: Config, listener: Listener, host: str | None, port: int | None) -> _Target:
    """Connect to our own listener and trust just its own certificate; on another host trust what the system does."""
    port = port or listener.port
    if not port:
        raise click.UsageError("the listener's port is chosen by the system; give it with --port")
    implicit_tls = next(
        (each.tls == "implicit" for each in config.listener if each.port == port), listener.tls == "implicit"
    )
    context = ssl.create_default_context()
    if host is not None:
        return _Target((host, port), implicit_tls, host, context)
    address = {"*": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.address, listener.address)  # noqa: S104
    return _Target((address, port), implicit_tls, _trust_own(config, context), context)


def _trust_own(config: Config, context: ssl.SSLContext) -> str:
    """Trust the chain that the server shows; return the name to ask for."""
    from gatepost.config.certificate import Flaw, read_chain

    if config.tls.certificate is None:
        raise Told(config.source.problem(("tls", "certificate"), "is missing; the server cannot run without it"))
    try:
        leaves = []
        for path in (config.tls.certificate, *(each.certificate for each in config.tls.pairs)):
            leaves.append(read_chain(path)[0])
            # Its own certificate may be the anchor, whoever signed it: nobody else has its key.
            context.load_verify_locations(path)
    except (Flaw, OSError) as error:
        raise Told(config.source.problem(("tls", "certificate"), str(error))) from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if any(leaf.covers(config.hostname) for leaf in leaves):
        return config.hostname
    return next(iter(leaves[0].names), config.hostname)
