"""Log in at a next hop: carry a mechanism's responses over the wire (RFC 4954 §4).

Whatever goes wrong here is the trouble of the route, never of a message.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable

from gatepost.errors import Malformed
from gatepost.model.delivery import Cause
from gatepost.relay.replies import WireReply
from gatepost.relay.trouble import Refusal, Trouble, reply_trouble, route_trouble
from gatepost.relay.wire import Wire
from gatepost.sasl.client import ClientMechanism, Credentials, Login, choose

__all__ = ["log_in"]

COMMAND_LIMIT = 512

_UNKNOWN = frozenset({500, 501, 502, 504})


async def log_in(wire: Wire, offered: Iterable[str], credentials: Credentials, seconds: float) -> None:
    """Log in with the best mechanism that both sides have.

    Args:
        wire: encrypted.
        offered: mechanisms of the next hop.
        credentials: ours.
        seconds: how long each reply may take.

    Raises:
        Trouble: we are not logged in.
    """
    names = tuple(offered)
    left = names
    trouble = route_trouble("4.7.0", f"no mechanism to log in with; the next hop offers {' '.join(names) or 'none'}")
    while (mechanism := choose(left, credentials)) is not None:
        left = tuple([name for name in left if name.upper() != mechanism.name])
        try:
            login = mechanism.start(credentials)
        except Malformed as error:  # SCRAM takes no such password, and PLAIN does
            trouble = route_trouble("4.7.8", f"cannot log in: {error.reason}")
            continue
        reply, is_judged = await _exchange(wire, mechanism, login, seconds)
        if reply.code == 235:
            try:
                login.succeed()
            except Malformed as error:
                raise route_trouble("4.7.8", f"the next hop cheats at {mechanism.name}: {error.reason}") from None
            return
        remote = reply.remote()
        # RFC 4954 §6: 535, 534, 454 and whatever else there is: our login is in trouble, not the mail.
        trouble = reply_trouble(remote) or Trouble(remote, Cause.ROUTE)
        # RFC 4954 §4: 504 says that it does not know the mechanism after all.  Nothing was judged: try the next best.
        if is_judged or reply.code not in _UNKNOWN:
            if mechanism.takes_token and 500 <= reply.code <= 599:
                trouble = Refusal(remote)
            break
    raise trouble


async def _exchange(wire: Wire, mechanism: ClientMechanism, login: Login, seconds: float) -> tuple[WireReply, bool]:
    """Run *login*; return the reply that ends it, and whether the next hop asked for anything before."""
    stage = f"AUTH {mechanism.name}"
    pending = login.initial
    command = f"AUTH {mechanism.name}".encode()
    if pending is not None:
        # RFC 4954 §4: an empty initial response is "="; one that makes the line too long waits for a 334.
        full = command + b" " + (base64.b64encode(pending) or b"=")
        if len(full) + 2 <= COMMAND_LIMIT:
            command, pending = full, None
    wire.send(command + b"\r\n")
    reply = await wire.reply(stage, seconds)
    is_judged = reply.code == 334
    while reply.code == 334:
        if pending is not None:
            response, pending = pending, None
        else:
            try:
                response = await _respond(mechanism, login, reply)
            except (Malformed, binascii.Error) as error:
                # RFC 4954 §4: a client that cannot go on says "*".
                wire.send(b"*\r\n")
                await wire.reply(stage, seconds)
                raise route_trouble("4.7.8", f"{mechanism.name} failed: {error}") from None
        wire.send(base64.b64encode(response) + b"\r\n")
        reply = await wire.reply(stage, seconds)
    return reply, is_judged


async def _respond(mechanism: ClientMechanism, login: Login, reply: WireReply) -> bytes:
    challenge = base64.b64decode(reply.lines[0], validate=True)
    if mechanism.is_slow:
        return await asyncio.to_thread(login.respond, challenge)
    return login.respond(challenge)
