"""A message that a client sends again because it cannot have heard of its 250: it gets the same id, and goes once.

That is so where credential, reverse-path, recipients and content are the same, the Message-ID is the client's own, and
the session in which it was kept ended without QUIT, and without an octet from the client after our 250.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.model.envelope import MessageId, Receipt, Transaction
from gatepost.model.reply import queued
from gatepost.observe.events import MessageRepeated
from gatepost.session.data import DataReader

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["answer_repeated", "fingerprint_of", "note_unheard", "watch"]


def watch(session: Conversation, reader: DataReader) -> None:
    """Take the fingerprint of what *reader* reads, where repeated messages are looked for."""
    unheard = session.service.unheard
    if unheard is not None:
        reader.fingerprint = unheard.fingerprint(reader.write)
        reader.write = reader.fingerprint.write


def fingerprint_of(transaction: Transaction, reader: DataReader, message_id: str | None) -> bytes | None:
    """Return the fingerprint of a message that was read; None where it is not looked for, or has no Message-ID."""
    if reader.fingerprint is None or message_id is None:
        return None
    identity = transaction.identity
    return reader.fingerprint.close(
        reader.header,
        identity.account.encode(),
        identity.credential.encode(),
        str(transaction.reverse_path or "").encode(),
        repr((transaction.body, transaction.smtputf8, transaction.ret, transaction.envid)).encode(),
        *sorted([repr((str(each.mailbox), each.notify, each.orcpt)).encode() for each in transaction.recipients]),
    )


def answer_repeated(session: Conversation, transaction: Transaction, reader: DataReader, fingerprint: bytes) -> bool:
    """Answer with the id of before, if the message was kept before; tell whether it was."""
    service = session.service
    assert service.unheard is not None
    known = service.unheard.find(fingerprint)
    if known is None:
        return False
    service.policies.undo(transaction)
    session.messages += 1
    session.failures = 0
    service.emit(
        MessageRepeated(
            session=session.id,
            peer=session.peer.address,
            login=transaction.identity.account,
            credential=transaction.identity.credential,
            message=known,
        )
    )
    # It hears of it now, or is noted once more when the session ends: who has heard, and sends again, means another.
    service.unheard.forget(fingerprint)
    session.send(queued(Receipt(known, reader.size)))
    note_unheard(session, fingerprint, known)
    return True


def note_unheard(session: Conversation, fingerprint: bytes | None, message: MessageId) -> None:
    """Remember a message that was kept, should its client not be heard of any more."""
    if fingerprint is None:
        return
    if session.transport is not None:
        session.unheard.append((fingerprint, message))
    elif session.service.unheard is not None:
        session.service.unheard.note(fingerprint, message)
