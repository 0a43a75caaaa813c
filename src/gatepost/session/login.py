"""The AUTH command: find the mechanism, drive its exchange, answer every kind of no the same way (RFC 4954 §4)."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from gatepost.channel_binding import bindings
from gatepost.errors import Cancelled, Malformed, StoreUnavailable, TooLong
from gatepost.model import reply as replies
from gatepost.model.identity import Identity
from gatepost.model.reply import Reply
from gatepost.observe.events import CanaryTouched, LoginFailed, LoginSucceeded
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.steps import Granted
from gatepost.sasl.wire import decode_base64, encode_base64
from gatepost.session.auth import Attempt, drive
from gatepost.session.failures import reply_to
from gatepost.session.guard import Guard, NotJudged
from gatepost.session.moment import wait_until
from gatepost.session.offer import offered
from gatepost.session.wire import Gone

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["login"]

# A client says of itself what it likes; the log keeps the beginning.
_NAME_LIMIT = 255
# To look a name up takes longer or shorter, by whether there is one.
_CHALLENGE_DELAY = 0.005


class _Client:
    """The client's end of an exchange."""

    def __init__(self, session: Conversation, mechanism: Mechanism) -> None:
        self._session = session
        self._is_external = mechanism.needs is Needs.CERTIFICATE
        self.was_refused = False

    async def respond(self, challenge: bytes, *, is_refusal: bool = False) -> bytes:
        session = self._session
        if is_refusal:
            self.was_refused = True
            await session.wait_for_moment_of_no()
        # RFC 4954 §4: the space stays when the challenge is empty.
        session.send(b"334 " + encode_base64(challenge) + b"\r\n")
        line = await session.read_response()
        # RFC 4954 §4: "*" alone cancels the exchange.
        if line == b"*":
            raise Cancelled
        # curl without a name answers EXTERNAL's challenge with the "=" that belongs into the AUTH command.
        return b"" if self._is_external and line == b"=" else decode_base64(line)

    async def wait_for_moment_of_challenge(self) -> None:
        """Wait until some time has gone since the client's last line."""
        await wait_until(self._session.received_at + _CHALLENGE_DELAY)


def _nonce() -> str:
    return secrets.token_urlsafe(18)  # 144 bits


def _parse(argument: str, mechanisms: tuple[Mechanism, ...]) -> tuple[Mechanism | None, bytes | None]:
    """Read mechanism and initial response.

    Raises:
        Malformed: too much or too little, or no base64.
    """
    # Clients send more than one space, and spaces at the end.  Nothing else separates that looks like one to Python.
    words = [each for each in argument.replace("\t", " ").split(" ") if each]
    if not 1 <= len(words) <= 2:
        raise Malformed("AUTH wants a mechanism", enhanced="5.5.4", text="Syntax: AUTH mechanism [initial-response]")
    # RFC 4422 §3.1: names of mechanisms are upper case; clients write them as they like.
    name = words[0].upper() if words[0].isascii() else ""  # U+017F is no "S"
    mechanism = next((each for each in mechanisms if each.name == name), None)
    initial = None
    if mechanism is not None and len(words) == 2:
        # RFC 4954 §4: "=" is an initial response that is present and empty.
        initial = b"" if words[1] == "=" else decode_base64(words[1].encode())
    return mechanism, initial


async def login(session: Conversation, argument: str) -> None:
    """Answer AUTH."""
    authority = session.service.authority
    if authority is None:
        session.refuse(replies.NOT_IMPLEMENTED, "AUTH", "no authority")
        return
    # RFC 4954 §4: AUTH belongs to EHLO, and a second one after a success is a 503.
    if not session.is_extended:
        session.refuse(replies.SAY_EHLO_FIRST, "AUTH", "after HELO")
        return
    if session.identity is not None:
        session.refuse(replies.ALREADY_AUTHENTICATED, "AUTH", "second AUTH")
        return
    try:
        mechanisms = offered(session, authority)
        mechanism, initial = _parse(argument, mechanisms)
    except Malformed as error:
        session.refuse(reply_to(error), "AUTH", error.reason)
        return
    if mechanism is None:
        session.refuse(replies.UNKNOWN_MECHANISM, "AUTH", "mechanism not offered")
        return

    attempt = authority.begin(session.peer, mechanism.name)
    bound = bindings(session.transport) if mechanism.binds else {}
    names = tuple(each.name for each in mechanisms)
    exchange = mechanism.start(
        initial, Context(session.service.hostname, _nonce, names, bound, int(session.service.clock.now()))
    )
    client = _Client(session, mechanism)
    guard = Guard(attempt, client, mechanism, session.service.guesses, session.peer.address)
    ended: NotJudged | Malformed | None = None
    try:
        try:
            outcome = await drive(exchange, guard, guard)
            if isinstance(outcome, Granted):
                identity = await _admit(session, attempt, outcome, client, guard)
                if identity is not None:
                    _succeed(session, identity, mechanism)
                    return
                reason = attempt.reason
            else:
                reason = attempt.reason or attempt.doomed or outcome.reason
            await _fail(session, client, guard, attempt, mechanism, replies.AUTH_FAILED, reason)
        except (NotJudged, Malformed) as error:
            ended = error
        except (Gone, asyncio.CancelledError):
            if client.was_refused:
                _tell(session, attempt, mechanism, replies.AUTH_FAILED, attempt.reason or "bad token")
            raise
        except StoreUnavailable as error:
            # RFC 4954 §6: 454 is no judgement, and not counted as one.
            reply = session.refuse(reply_to(error), "", "")
            _tell(session, attempt, mechanism, reply, str(error))
        if ended is not None:  # only here: compiled code must not wait where it handles an exception
            await _end(session, client, guard, attempt, mechanism, ended)
    finally:
        _raise_alarm(session, guard, attempt, mechanism)
        guard.withdrawn()


async def _admit(
    session: Conversation, attempt: Attempt, outcome: Granted, client: _Client, guard: Guard
) -> Identity | None:
    """Return who comes in; None is a no, whose reason is with the attempt."""
    session.is_outdated = False
    identity = await attempt.admit(outcome.identity, outcome.authzid)
    if identity is None:
        return None
    await guard.succeeded()
    if outcome.final is not None:
        # RFC 4954 §4: 235 carries no data, so what goes with success goes out as one more challenge.
        if await client.respond(outcome.final) != b"":
            raise Malformed("expected an empty response to the final challenge")
        # A client may dawdle over that, and what was revoked meanwhile must not come in.
        session.is_outdated = True
    # Nobody is logged in here yet, so that whoever looks for logins that count no more passes this one over.
    while session.is_outdated and identity is not None:
        session.is_outdated = False
        identity = await attempt.admit(outcome.identity, outcome.authzid)
    return identity


def _succeed(session: Conversation, identity: Identity, mechanism: Mechanism) -> None:
    peer = session.peer
    session.identity = identity
    session.mechanism = mechanism.name
    session.patience = session.service.limits.idle_patience
    session.set_clock()
    session.session.authenticated = True
    session.session.auth_data = identity  # type: ignore[assignment]  # aiosmtpd says None
    session.service.emit(
        LoginSucceeded(
            session=session.id,
            listener=peer.listener,
            peer=peer.address,
            login=identity.account,
            credential=identity.credential,
            label=identity.label,
            mechanism=mechanism.name,
            tls=str(peer.tls or ""),
            client=(session.session.host_name or "")[:_NAME_LIMIT],
        )
    )
    session.reply(replies.AUTHENTICATED)


async def _fail(
    session: Conversation,
    client: _Client,
    guard: Guard,
    attempt: Attempt,
    mechanism: Mechanism,
    reply: Reply,
    reason: str,
) -> None:
    """Say no, at the moment at which every no is said."""
    _raise_alarm(session, guard, attempt, mechanism)
    if attempt.doubt and reply is replies.AUTH_FAILED:
        # RFC 4954 §6: 454 is for a temporary trouble: who is unknown may be known to the store that is away.
        reply, reason = replies.AUTH_UNAVAILABLE, f"{reason}; {attempt.doubt}"
    try:
        # Counted before the client hears of it, also when it has gone.
        await guard.failed()
        if not client.was_refused:
            await session.wait_for_moment_of_no()
    finally:
        # Told of also when the client has gone: a yes comes at once, so whoever guesses need not wait for a no.
        session.auth_failures += 1
        _tell(session, attempt, mechanism, session.refuse(reply, "", ""), reason)
    if session.auth_failures >= session.service.limits.auth_failures:
        session.reply(replies.TOO_MANY_FAILURES)
        session.hang_up("too many failed logins")


async def _end(
    session: Conversation,
    client: _Client,
    guard: Guard,
    attempt: Attempt,
    mechanism: Mechanism,
    error: NotJudged | Malformed,
) -> None:
    """Say no to an exchange that *error* ended."""
    if isinstance(error, NotJudged):
        await _turn_away(session, attempt, mechanism, str(error))
    elif not isinstance(error, Cancelled | TooLong):
        await _fail(session, client, guard, attempt, mechanism, reply_to(error), attempt.reason or error.reason)
    elif client.was_refused:
        await _fail(session, client, guard, attempt, mechanism, reply_to(error), attempt.reason or "bad token")
    else:
        # RFC 4954 §4: a cancelled exchange is no failure, unless the answer was a no already.
        session.refuse(reply_to(error), "AUTH", error.reason)
        session.count_nonsense()


async def _turn_away(session: Conversation, attempt: Attempt, mechanism: Mechanism, reason: str) -> None:
    """Say that nothing was judged, at the moment at which every no is said, and hang up."""
    try:
        await session.wait_for_moment_of_no()
    finally:
        # RFC 4954 §6: 454 says nothing about the credentials, and a client keeps what may well be the right ones.
        _tell(session, attempt, mechanism, session.refuse(replies.AUTH_UNAVAILABLE, "", ""), reason)
    session.reply(replies.TOO_MANY_FAILURES)
    session.hang_up("too many failed logins")


def _raise_alarm(session: Conversation, guard: Guard, attempt: Attempt, mechanism: Mechanism) -> None:
    """Tell of a canary that was touched, once, and block who did it."""
    canary, attempt.canary = attempt.canary, None
    if canary is None:
        return
    peer = session.peer
    event = CanaryTouched(
        session=session.id,
        listener=peer.listener,
        peer=peer.address,
        login=canary.account,
        credential=canary.credential,
        label=canary.label,
        mechanism=mechanism.name,
        tls=str(peer.tls or ""),
        client=(session.session.host_name or "")[:_NAME_LIMIT],
        blocked_seconds=guard.block(),
    )
    # Beside the reply, whose moment must not show that anything is written down.
    session.loop.call_soon(session.service.emit, event)


def _tell(session: Conversation, attempt: Attempt, mechanism: Mechanism, reply: Reply, reason: str) -> None:
    found = attempt.identity
    session.service.emit(
        LoginFailed(
            session=session.id,
            listener=session.peer.listener,
            peer=session.peer.address,
            login=attempt.authcid,
            credential=found.credential if found else "",
            label=found.label if found else "",
            mechanism=mechanism.name,
            reason=reason,
            reply=str(reply),
        )
    )
