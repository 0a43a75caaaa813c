"""Open a connection to a next hop: address, greeting, EHLO, TLS, login (RFC 5321 §3.1, 3207, 4954, 2033)."""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import AddressFamily

from gatepost.model.delivery import Cause
from gatepost.model.identity import Secret
from gatepost.relay.capabilities import Capabilities
from gatepost.relay.dialing import dial, look_up
from gatepost.relay.login import log_in
from gatepost.relay.replies import WireReply
from gatepost.relay.trouble import Trouble, next_hop_trouble, route_trouble
from gatepost.relay.wire import Timeouts, Wire
from gatepost.sasl.client import Credentials

__all__ = ["NextHop", "Opened", "TlsMode", "open_wire"]


class TlsMode(enum.Enum):
    """How a connection to a next hop is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where mail goes, and how to get in.

    Args:
        host: name or address, in A-labels.
        port: TCP port.
        hostname: our own name, for EHLO.
        tls: how the connection is encrypted.
        context: what is asked of its certificate; None with `TlsMode.NONE`.
        login: name to log in with; empty for no login.
        password: for PLAIN, LOGIN, CRAM-MD5 and SCRAM.
        token: access token for XOAUTH2 or OAUTHBEARER.
        timeouts: how long it may take.
        mechanisms: those to log in with; all that we know, if empty.
        has_certificate: whether *context* shows a certificate of ours: where EXTERNAL is offered, it logs us in.
        is_lmtp: whether it speaks LMTP.
        socket: its Unix socket, instead of *host* and *port*.
        sources: addresses of ours to go from, by their family; a family without one is not used, unless there is none.
    """

    host: str
    port: int
    hostname: str
    tls: TlsMode = TlsMode.STARTTLS
    context: ssl.SSLContext | None = None
    login: str = ""
    password: Secret | None = None
    token: Secret | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    has_certificate: bool = False
    is_lmtp: bool = False
    socket: Path | None = None
    sources: Mapping[AddressFamily, str] = field(default_factory=dict)
    mechanisms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that is ready for mail."""

    wire: Wire
    capabilities: Capabilities


async def open_wire(next_hop: NextHop) -> Opened:
    """Open a connection, ready for mail.

    Raises:
        Trouble: there is none.
    """
    if next_hop.login and next_hop.tls is TlsMode.NONE:
        raise route_trouble("4.7.11", "no login without TLS: the password would be read on the way")
    if next_hop.login and not _is_verified(next_hop) and (next_hop.password or next_hop.token):
        raise route_trouble("4.7.11", "no login over TLS that is not verified: anybody could be the next hop")
    wire = await _connect(next_hop)
    try:
        capabilities = await _introduce(wire, next_hop)
    except Trouble:
        wire.quit(next_hop.timeouts.quit)
        raise
    except BaseException:
        wire.abort()
        raise
    return Opened(wire, capabilities)


def _is_verified(next_hop: NextHop) -> bool:
    context = next_hop.context
    return context is not None and context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


async def _connect(next_hop: NextHop) -> Wire:
    seconds, sources = next_hop.timeouts.connect, next_hop.sources
    if next_hop.socket is not None:
        return await _greeted(await _reach(next_hop.socket, seconds), next_hop)
    places = deque(await look_up(next_hop.host, next_hop.port, sources, seconds))
    loop = asyncio.get_running_loop()
    first: Trouble | None = None
    # RFC 5321 §5.1: each address is tried until one answers with a good greeting.
    while True:
        try:
            end = await dial(next_hop.host, places, sources, seconds)
            _, wire = await loop.create_connection(Wire, sock=end)
            return await _greeted(wire, next_hop)
        except Trouble as trouble:
            # What somebody must mend comes first, and bounces nothing.
            if first is None or (first.cause is not Cause.ROUTE and trouble.cause is Cause.ROUTE):
                first = trouble
            if not places:
                raise first from None


async def _reach(path: Path, seconds: float) -> Wire:
    try:
        async with asyncio.timeout(seconds):
            _, wire = await asyncio.get_running_loop().create_unix_connection(Wire, str(path))
    except TimeoutError:
        raise next_hop_trouble("4.4.1", f"{path} does not answer") from None
    except PermissionError as error:
        # Nobody but the operator can help, and no mail is to blame.
        raise route_trouble("4.3.5", f"cannot connect to {path}: {error.strerror or error}") from None
    except OSError as error:
        raise next_hop_trouble("4.4.1", f"cannot connect to {path}: {error.strerror or error}") from None
    return wire


async def _greeted(wire: Wire, next_hop: NextHop) -> Wire:
    try:
        await _greeting(wire, next_hop)
    except Trouble:
        wire.quit(next_hop.timeouts.quit)
        raise
    except BaseException:
        wire.abort()
        raise
    return wire


async def _greeting(wire: Wire, next_hop: NextHop) -> None:
    if next_hop.tls is TlsMode.IMPLICIT:
        await _encrypt(wire, next_hop)
    greeting = await wire.reply("greeting", next_hop.timeouts.greeting)
    # RFC 5321 §3.1: 554 instead of a greeting means no service here; it says nothing about any message.
    if greeting.code != 220:
        raise Trouble(greeting.remote(), Cause.NEXT_HOP)


async def _introduce(wire: Wire, next_hop: NextHop) -> Capabilities:
    capabilities = await _ehlo(wire, next_hop)
    if next_hop.tls is TlsMode.STARTTLS:
        if not capabilities.starttls:
            raise route_trouble("4.7.10", f"{next_hop.host} does not offer STARTTLS")
        reply = await _ask(wire, b"STARTTLS\r\n", "STARTTLS", next_hop)
        if reply.code != 220:
            remote = reply.remote()
            raise Trouble(remote, Cause.ROUTE if 500 <= reply.code <= 599 else Cause.NEXT_HOP)
        await _encrypt(wire, next_hop)
        # RFC 3207 §4.2: whatever was learned before TLS is forgotten.
        capabilities = await _ehlo(wire, next_hop)
    has_certificate = next_hop.has_certificate and next_hop.tls is not TlsMode.NONE
    mechanisms = capabilities.mechanisms
    if next_hop.mechanisms:
        # Who names a SCRAM takes its -PLUS, too: it is the same secret, proven with more.
        mechanisms = tuple([each for each in mechanisms if {each, each.removesuffix("-PLUS")} & next_hop.mechanisms])
    if next_hop.login or (has_certificate and "EXTERNAL" in mechanisms):
        binding = next(iter(wire.bindings().items()), None)
        credentials = Credentials(
            next_hop.login, next_hop.password, next_hop.token, binding=binding, has_certificate=has_certificate
        )
        await log_in(wire, mechanisms, credentials, next_hop.timeouts.command)
    return capabilities


async def _ask(wire: Wire, command: bytes, stage: str, next_hop: NextHop) -> WireReply:
    wire.send(command)
    return await wire.reply(stage, next_hop.timeouts.command)


async def _encrypt(wire: Wire, next_hop: NextHop) -> None:
    assert next_hop.context is not None
    is_implicit = next_hop.tls is TlsMode.IMPLICIT
    await wire.start_tls(next_hop.context, next_hop.host, next_hop.timeouts.handshake, is_implicit=is_implicit)


async def _ehlo(wire: Wire, next_hop: NextHop) -> Capabilities:
    name = next_hop.hostname.encode("ascii")
    # RFC 2033 §4.1: LHLO stands in the place of EHLO, and an LMTP server knows neither EHLO nor HELO.
    verb = "LHLO" if next_hop.is_lmtp else "EHLO"
    reply = await _ask(wire, b"%b %b\r\n" % (verb.encode(), name), verb, next_hop)
    if reply.code == 250:
        return Capabilities.parse(reply.lines)
    # RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO, if nothing is needed that only EHLO gives.
    if 500 <= reply.code <= 599 and next_hop.tls is TlsMode.NONE and not next_hop.is_lmtp:
        reply = await _ask(wire, b"HELO %b\r\n" % name, "HELO", next_hop)
        if reply.code == 250:
            return Capabilities()
    raise Trouble(reply.remote(), Cause.NEXT_HOP)
