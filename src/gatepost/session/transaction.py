"""The commands of a mail transaction: MAIL, RCPT, DATA (RFC 5321 §3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.errors import Malformed
from gatepost.model import reply as replies
from gatepost.model.address import is_qualified, parse_forward_path, parse_reverse_path
from gatepost.model.envelope import Recipient, Transaction
from gatepost.model.identity import Identity
from gatepost.model.verdict import ACCEPT
from gatepost.policy.policy import Stage
from gatepost.session.accept import accept
from gatepost.session.data import DataReader
from gatepost.session.extensions import MAIL_PARAMETERS, RECIPIENT_PARAMETERS
from gatepost.session.params import MailParameters, Parameters, RecipientParameters, parse_parameters, split_path
from gatepost.session.repeat import watch
from gatepost.session.signing import signing_of
from gatepost.session.state import State

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["data", "mail", "recipient"]

_NOBODY = Identity(account="", credential="")


async def mail(session: Conversation, argument: str) -> None:
    """Answer MAIL."""
    if session.service.is_draining and session.messages:
        session.reply(replies.SHUTTING_DOWN)
        session.hang_up("shutting down")
        return
    path, text = split_path(argument, "FROM:")
    wanted = MailParameters()
    if text:
        for keyword, value in _parameters(session, text).items():
            read = MAIL_PARAMETERS.get(keyword)
            if read is None:
                # RFC 5321 §4.1.1.11: an unknown parameter is a 555.
                session.refuse(replies.UNKNOWN_PARAMETER, "MAIL", f"parameter {keyword}")
                return
            read(value, wanted)
    try:
        mailbox = parse_reverse_path(path)
    except Malformed as error:
        session.refuse(replies.BAD_SENDER_SYNTAX, "MAIL", error.reason)
        return
    # RFC 6531 §3.4: a UTF-8 address needs the parameter.
    if mailbox is not None and not mailbox.is_ascii and not wanted.smtputf8:
        session.refuse(replies.SMTPUTF8_NEEDED, "MAIL", "UTF-8 without SMTPUTF8")
        return
    # RFC 6409 §4.2: every domain in the envelope is fully qualified.
    if mailbox is not None and not is_qualified(mailbox.domain):
        session.refuse(replies.SENDER_DOMAIN_NOT_QUALIFIED, "MAIL", f"{mailbox} is not fully qualified")
        return
    transaction = Transaction(
        identity=session.identity or _NOBODY,
        peer=session.peer,
        reverse_path=mailbox,
        declared_size=wanted.size,
        body=wanted.body,
        smtputf8=wanted.smtputf8,
        ret=wanted.ret,
        envid=wanted.envid,
    )
    verdict = await session.service.policies.check(Stage.MAIL, transaction)
    if verdict is not ACCEPT and session.says_no(verdict, "MAIL"):
        return
    # RFC 1870 §6.1: a message for which there is no room now is a 452 before anything of it is sent.
    session.service.spool.check_room(wanted.size or 0)
    answer = None
    if session.hooks:
        answer = await session.hooks.call("MAIL", session, str(mailbox or ""), text.split())
    if session.answer(answer, replies.SENDER_OK):
        session.transaction = transaction
        session.state = State.MAIL
        session.set_clock()
        if session.hooks:
            session.envelope.smtp_utf8 = wanted.smtputf8
            if answer is None:
                session.envelope.mail_from = str(mailbox or "")
                session.envelope.mail_options = text.split()


async def recipient(session: Conversation, argument: str) -> None:
    """Answer RCPT."""
    transaction = session.transaction
    assert transaction is not None
    path, text = split_path(argument, "TO:")
    wanted = None
    if text:
        wanted = RecipientParameters(transaction.smtputf8)
        for keyword, value in _parameters(session, text).items():
            read = RECIPIENT_PARAMETERS.get(keyword)
            if read is None:
                # RFC 5321 §4.1.1.11: an unknown parameter is a 555.
                session.refuse(replies.UNKNOWN_PARAMETER, "RCPT", f"parameter {keyword}")
                return
            read(value, wanted)
    try:
        mailbox = parse_forward_path(path, session.hostname)
    except Malformed as error:
        session.refuse(replies.BAD_RECIPIENT_SYNTAX, "RCPT", error.reason)
        return
    # RFC 6531 §3.4: a UTF-8 address needs the parameter on MAIL.
    if not mailbox.is_ascii and not transaction.smtputf8:
        session.refuse(replies.SMTPUTF8_NEEDED, "RCPT", "UTF-8 without SMTPUTF8")
        return
    # RFC 6409 §4.2: every domain in the envelope is fully qualified.
    if not is_qualified(mailbox.domain):
        session.refuse(replies.DOMAIN_NOT_QUALIFIED, "RCPT", f"{mailbox} is not fully qualified")
        return
    pending = Recipient(mailbox) if wanted is None else Recipient(mailbox, wanted.notify, wanted.orcpt)
    transaction.pending = pending
    verdict = await session.service.policies.check(Stage.RCPT, transaction)
    if verdict is not ACCEPT and session.says_no(verdict, "RCPT"):
        return
    answer = None
    if session.hooks:
        answer = await session.hooks.call("RCPT", session, str(mailbox), text.split())
    if session.answer(answer, replies.RECIPIENT_OK):
        transaction.recipients.append(pending)
        session.state = State.RCPT
        if session.hooks and answer is None:
            session.envelope.rcpt_tos.append(str(mailbox))


def _parameters(session: Conversation, text: str) -> Parameters:
    # RFC 5321 §2.2.1: extensions, and so parameters, belong to EHLO.
    if not session.is_extended:
        raise Malformed("parameters after HELO", enhanced="5.5.4", text="Parameters need EHLO")
    return parse_parameters(text)


async def data(session: Conversation, argument: str) -> None:
    """Answer DATA."""
    transaction = session.transaction
    assert transaction is not None
    if argument:
        session.refuse(replies.BAD_SYNTAX, "DATA", "DATA with an argument")
        return
    # RFC 2920 §3.1: DATA may come in one group with recipients that were all refused.
    if not transaction.recipients:
        session.refuse(replies.NO_VALID_RECIPIENTS, "DATA", "no recipients")
        return
    service = session.service
    incoming = service.spool.begin()
    patience = session.patience
    try:
        reader = DataReader(incoming.write, session.message_limit, service.content)
        watch(session, reader)
        reader.signing = signing_of(service.signer)
        session.reply(replies.SEND_DATA)
        session.patience = service.limits.data_patience
        await session.read_data(reader, incoming)
        await accept(session, transaction, reader, incoming)
    finally:
        incoming.abort()
        if session.is_in_data:
            # Trouble of our own: the rest of the message must not be taken for commands, and nobody reads it any more.
            session.hang_up("trouble in the middle of a message")
        session.patience = patience
        session.forget_transaction()
