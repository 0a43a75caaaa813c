"""The smart host transport: all mail goes to one host, over TLS as told, logged in."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from gatepost.errors import SpoolUnavailable
from gatepost.model.address import ascii_domain
from gatepost.model.delivery import Cause, Deferred, RemoteReply, Result
from gatepost.model.envelope import Recipient
from gatepost.model.identity import Secret
from gatepost.relay.client import Connection
from gatepost.relay.dialing import sources_of
from gatepost.relay.opening import NextHop, Opened, TlsMode, open_wire
from gatepost.relay.pool import Pool, Share
from gatepost.relay.token_login import open_with_token
from gatepost.relay.token_source import TokenSource
from gatepost.relay.transport import Delivery
from gatepost.relay.trouble import Trouble, next_hop_trouble
from gatepost.relay.wire import Timeouts

__all__ = ["SmartHost", "TlsMode", "client_context"]

STEP_BY_STEP_SECONDS = 3600.0
"""How long pipelining is not used after the next hop stopped in the middle of a group of commands."""

GO_ON_SECONDS = 600.0
"""How long after the first transaction of a delivery another one is begun.

What was taken is written down when the delivery ends; if its time were over first, all would get their mail again.
"""

_UNREADABLE = RemoteReply.ours(451, "4.3.0", "The message cannot be read from the spool now")
# RFC 5321 §4.5.3.1.10: with 452 after some recipients the rest is sent again at once.
_GO_ON_LATER = RemoteReply.ours(452, "4.5.3", "The next hop is slow, and takes the rest in another delivery")


def client_context(
    *,
    verify: bool = True,
    ca_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> ssl.SSLContext:
    """Make the TLS context of a client: certificate and name checked.

    Args:
        verify: whether they are; without, anybody on the way can read the mail and the password.
        ca_file: certificates to trust instead of the system's, as PEM.
        certificate: ours, with its chain, as PEM; None for none.
        key: of our certificate; it stands in the same file if None.
        minimum: oldest version of TLS.

    Raises:
        OSError: a file cannot be read, or is no PEM (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=ca_file)
    # RFC 8997 §3: TLS 1.2 is the least.
    context.minimum_version = max(minimum, ssl.TLSVersion.TLSv1_2)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    return context


def _no_passphrase() -> bytes:
    raise ssl.SSLError("the key has a passphrase")


class SmartHost:
    """One host that takes the mail onward.

    Args:
        name: name of the route it serves.
        host: its name or address.
        port: its TCP port; 0 for a socket.
        hostname: our own name, for EHLO.
        tls: how the connection is encrypted.
        verify: whether its certificate must be good and carry its name.
        ca_file: certificates to trust instead of the system's, as PEM.
        certificate: ours, as PEM; shown to the next hop, and our login where it offers EXTERNAL.
        key: of our certificate; it stands in the same file if None.
        minimum_tls: oldest version of TLS.
        login: name to log in with; empty for no login.  Never sent without verified TLS.
        password: for SCRAM, PLAIN, LOGIN and CRAM-MD5.
        token: access token for XOAUTH2 or OAUTHBEARER.
        tokens: where access tokens come from, in its place.
        source_addresses: addresses of ours to go from, one of a family; a family without one is not used.
        mechanisms: those to log in with; all that we know, if empty.
        timeouts: how long the next hop may take.
        connections: connections at once.
        idle_seconds: how long an unused connection is kept.
        messages_per_connection: messages on one connection, after which it is closed.
        recipients_per_transaction: recipients of one transaction; more are sent as several.
        share: our part of the connections to this host, if others of this node have some, too.
        socket: its Unix socket, instead of a port; only for LMTP.

    Raises:
        Malformed: *host* or *hostname* is no name.
        OSError: *ca_file*, *certificate* or *key* cannot be read.
    """

    _connection: ClassVar[type[Connection]] = Connection
    _is_lmtp: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        host: str,
        port: int = 0,
        *,
        hostname: str,
        tls: TlsMode = TlsMode.STARTTLS,
        verify: bool = True,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        minimum_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        login: str = "",
        password: Secret | None = None,
        token: Secret | None = None,
        tokens: TokenSource | None = None,
        source_addresses: Sequence[str] = (),
        mechanisms: Collection[str] = (),
        timeouts: Timeouts | None = None,
        connections: int = 20,
        idle_seconds: float = 15.0,
        messages_per_connection: int = 100,
        recipients_per_transaction: int = 100,
        share: Share | None = None,
        socket: Path | None = None,
    ) -> None:
        self.name = name
        self._tokens = tokens
        self._timeouts = timeouts or Timeouts()
        self._next_hop = NextHop(
            ascii_domain(host),
            port,
            ascii_domain(hostname),
            tls,
            None
            if tls is TlsMode.NONE
            else client_context(verify=verify, ca_file=ca_file, certificate=certificate, key=key, minimum=minimum_tls),
            login,
            password,
            token,
            self._timeouts,
            has_certificate=certificate is not None,
            sources=sources_of(source_addresses),
            mechanisms=frozenset(mechanisms),
            is_lmtp=self._is_lmtp,
            socket=socket,
        )
        self._recipients_per_transaction = recipients_per_transaction
        self._pool = Pool(
            self._open,
            limit=connections,
            idle_seconds=idle_seconds,
            messages_limit=messages_per_connection,
            share=share,
        )
        self._step_by_step_until = -math.inf

    async def deliver(self, delivery: Delivery, patience: float | None = None) -> Sequence[Result]:
        """Try once; return one result per recipient, in their order.

        Args:
            delivery: what to whom.
            patience: how long it may take in all until a connection is ready for mail; None for the limits of its
                steps.

        Raises:
            SpoolUnavailable: the content cannot be read; the next hop got nothing.
        """
        recipients, most = delivery.recipients, self._recipients_per_transaction
        time = asyncio.get_running_loop().time
        over = time() + GO_ON_SECONDS
        results = await self._deliver(delivery, recipients[:most], patience)
        while (start := len(results)) < len(recipients):
            last = results[-1]
            if isinstance(last, Deferred) and last.cause is not Cause.MESSAGE:  # then the others need not try now
                rest = Deferred(last.reply, last.next_hop, last.cause, is_unseen=True)
            elif time() >= over or not delivery.goes_on():
                rest = Deferred(_GO_ON_LATER, last.next_hop)
            else:
                try:
                    results += await self._deliver(delivery, recipients[start : start + most], patience)
                    continue
                except SpoolUnavailable:  # not raised on: some may have it already
                    rest = Deferred(_UNREADABLE)
            return results + [rest] * (len(recipients) - start)
        return results

    async def close(self) -> None:
        """Let go of kept connections."""
        await self._pool.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def _deliver(
        self, delivery: Delivery, recipients: tuple[Recipient, ...], patience: float | None
    ) -> list[Result]:
        """Try once with as many of *recipients*, from the first on, as the next hop takes at once."""
        is_fresh = False
        while True:
            try:
                connection = await self._pool.acquire(fresh=is_fresh, patience=patience)
            except Trouble as trouble:
                unseen = Deferred(trouble.reply, self._next_hop.host, trouble.cause, is_unseen=True)
                return [unseen] * len(recipients)
            was_kept = connection.served > 0
            try:
                share = recipients[: connection.share(recipients)]
                results = await connection.transact(delivery.envelope, share, delivery.content)
            finally:
                self._pool.release(connection)
            if connection.has_stalled:
                self._step_by_step_until = asyncio.get_running_loop().time() + STEP_BY_STEP_SECONDS
            # A kept connection may have been closed while it lay idle.  That is nobody's failure: once more on a fresh
            # one, if the message cannot have arrived, and the next hop has not said what it thinks of it.
            ended = connection.trouble
            if ended is None or not was_kept or is_fresh or connection.is_committed:
                return results
            if all(each.reply is not ended.reply for each in results):
                return results
            is_fresh = True

    async def _open(self, patience: float | None) -> Connection:
        tokens = self._tokens
        if tokens is None:
            opened = await _reach(self._next_hop, patience)
        else:
            opened = await open_with_token(self._next_hop, tokens, partial(_reach, patience=patience))
        capabilities = opened.capabilities
        if asyncio.get_running_loop().time() < self._step_by_step_until:
            capabilities = replace(capabilities, pipelining=False)
        return self._connection(opened.wire, capabilities, self._next_hop.host, self._timeouts)


async def _reach(next_hop: NextHop, patience: float | None) -> Opened:
    try:
        async with asyncio.timeout(patience):
            return await open_wire(next_hop)
    except TimeoutError:
        raise next_hop_trouble("4.4.1", f"{next_hop.host} was not ready for mail in time") from None
