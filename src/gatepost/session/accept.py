"""From the final dot to the 250: mend the header, ask the policies, keep the message (RFC 5321 §6.1, RFC 6409 §8)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gatepost.errors import Malformed, SpoolUnavailable
from gatepost.message.prepare import Examined, examine, prepare
from gatepost.message.trace import Stamp, protocol_word
from gatepost.model.envelope import Body, Envelope, Receipt, Transaction
from gatepost.model.reply import Reply, queued
from gatepost.model.verdict import Hold, Refuse
from gatepost.observe.events import MessageAccepted, MessageRefused
from gatepost.policy.policy import Stage
from gatepost.session.data import DataReader
from gatepost.session.failures import reply_to
from gatepost.session.repeat import answer_repeated, fingerprint_of, note_unheard
from gatepost.spool.spool import Incoming

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["accept"]


async def accept(session: Conversation, transaction: Transaction, reader: DataReader, incoming: Incoming) -> None:
    """Keep the message that *reader* read into *incoming*, or refuse it, and say so.

    Raises:
        SpoolUnavailable: it is not kept.
    """
    if reader.fault is not None:
        _refuse(session, transaction, reader, reader.fault, "")
        return
    signing = reader.signing
    try:
        examined = (signing.examined if signing is not None else None) or examine(reader.header)
    except Malformed as error:
        _refuse(session, transaction, reader, reply_to(error), error.reason)
        return
    transaction.header_from = examined.from_addresses
    transaction.header_sender = examined.sender
    verdict = await session.service.policies.check(Stage.HEADER, transaction)
    if isinstance(verdict, Refuse):
        _refuse(session, transaction, reader, verdict.reply, verdict.reason)
        return
    fingerprint = fingerprint_of(transaction, reader, examined.message_id)
    if fingerprint is not None and answer_repeated(session, transaction, reader, fingerprint):
        return
    receipt = await _keep(session, transaction, reader, incoming, examined, held=isinstance(verdict, Hold))
    if session.hooks and "DATA" in session.hooks:
        await session.hooks.take(session, receipt)
    else:
        session.send(queued(receipt))
        note_unheard(session, fingerprint, receipt.id)
        session.service.wake(receipt.id)


async def _keep(
    session: Conversation,
    transaction: Transaction,
    reader: DataReader,
    incoming: Incoming,
    examined: Examined,
    *,
    held: bool,
) -> Receipt:
    service = session.service
    peer = session.peer
    recipients = tuple(transaction.recipients)
    prepared = prepare(
        examined,
        Stamp(
            hostname=service.hostname,
            id=incoming.id,
            now=service.clock.now(),
            protocol=protocol_word(
                tls=peer.tls is not None, authenticated=session.identity is not None, smtputf8=transaction.smtputf8
            ),
            unique=f"{incoming.id}.{secrets.token_hex(8)}" if examined.message_id is None else "",
            tls=str(peer.tls or ""),
            # RFC 5321 §7.2: with more than one recipient, naming them would show blind copies.
            recipient=recipients[0].mailbox if len(recipients) == 1 else None,
        ),
    )
    prefix, signatures, dkim = prepared.prefix, 0, "off"
    if reader.signing is not None:
        prefix, signatures = reader.signing.sign(prepared, examined)
        dkim = "signed" if signatures else reader.signing.why_not(examined)
    # RFC 6531 §3.2: the next hop needs SMTPUTF8 only if an address or the header really is UTF-8.  Octets beyond ASCII
    # in the header of a client that did not ask for SMTPUTF8 are of the old kind, and go on as 8BITMIME, as they came.
    smtputf8 = transaction.smtputf8 and not (prepared.prefix.isascii() and _addresses_are_ascii(transaction))
    identity = transaction.identity
    envelope = Envelope(
        reverse_path=transaction.reverse_path,
        recipients=recipients,
        body=Body.SEVEN_BIT if reader.is_ascii else Body.EIGHT_BIT,
        smtputf8=smtputf8,
        account=identity.account,
        credential=identity.credential,
        label=identity.label,
        header_bytes=len(prefix),
        size_bytes=len(prefix) + reader.size - len(reader.header),
        sandbox=identity.sandbox,
        ret=transaction.ret,
        envid=transaction.envid,
        signatures=signatures,
    )
    # Once the spool has begun, the message may be there: then it is told of and relayed like any other, even when its
    # client hangs up meanwhile and hears of no 250.
    session.is_keeping = True
    try:
        receipt = await incoming.commit(envelope, prefix, held=held)
    except SpoolUnavailable:
        service.policies.undo(transaction)
        raise
    finally:
        session.is_keeping = False
    session.messages += 1
    session.failures = 0
    service.emit(
        MessageAccepted(
            session=session.id,
            peer=peer.address,
            login=identity.account,
            credential=identity.credential,
            message=receipt.id,
            sender=str(transaction.reverse_path or ""),
            recipients=tuple(map(str, recipients)),
            size=envelope.size_bytes,
            header_message_id=prepared.message_id,
            seconds=session.loop.time() - session.received_at,
            dkim=dkim,
        )
    )
    return receipt


def _addresses_are_ascii(transaction: Transaction) -> bool:
    reverse_path = transaction.reverse_path
    return (reverse_path is None or reverse_path.is_ascii) and all(
        each.mailbox.is_ascii for each in transaction.recipients
    )


def _refuse(session: Conversation, transaction: Transaction, reader: DataReader, reply: Reply, reason: str) -> None:
    said = session.refuse(reply, "", "")
    session.service.emit(
        MessageRefused(
            session=session.id,
            peer=session.peer.address,
            login=transaction.identity.account,
            credential=transaction.identity.credential,
            sender=str(transaction.reverse_path or ""),
            recipients=tuple(map(str, transaction.recipients)),
            size=max(reader.size, 0),
            reply=str(said),
            reason=reason or str(reply),
        )
    )
