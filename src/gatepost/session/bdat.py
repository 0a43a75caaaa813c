"""The command BDAT: a chunk of a message, or the last one (RFC 3030).

Whatever is answered, the octets of the chunk are read first: they are no commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.errors import Malformed, SpoolUnavailable
from gatepost.model import reply as replies
from gatepost.model.reply import Reply
from gatepost.session.accept import accept
from gatepost.session.chunk import ChunkReader
from gatepost.session.extensions.chunking import parse_chunk
from gatepost.session.failures import reply_to
from gatepost.session.repeat import watch
from gatepost.session.signing import signing_of
from gatepost.session.state import State

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["chunk", "refuse_chunk"]


async def chunk(session: Conversation, argument: str) -> None:
    """Answer BDAT."""
    transaction = session.transaction
    assert transaction is not None
    # RFC 2920 §3.1: BDAT may come in one group with recipients that were all refused.
    if not transaction.recipients:
        await refuse_chunk(session, argument, replies.NO_VALID_RECIPIENTS)
        return
    try:
        octets, is_last = parse_chunk(argument)
    except Malformed as error:
        _lose_track(session, error)
        return
    patience = session.patience
    session.patience = session.service.limits.data_patience
    goes_on = False
    try:
        reader = session.chunks.reader
        if reader is None:
            try:
                reader = session.chunks.reader = _begin(session)
            except SpoolUnavailable:
                await _skip(session, octets)
                raise
        reader.expect(octets, is_last=is_last)
        await session.read_data(reader, reader.incoming, octets)
        if is_last or not await _is_kept(reader):
            await accept(session, transaction, reader, reader.incoming)
        else:
            # RFC 3030 §2: each chunk is answered, with 250 when it was taken.
            session.reply(replies.CHUNK_OK)
            session.state = State.CHUNKS
            goes_on = True
    finally:
        if session.is_in_data:
            # Trouble of our own: the rest of the chunk must not be taken for commands, and nobody reads it any more.
            session.hang_up("trouble in the middle of a chunk")
        session.patience = patience
        if not goes_on:
            # RFC 3030 §2: a message of which one chunk failed has failed, and those that still come are refused.
            session.forget_transaction()
            session.chunks.have_failed = not is_last


async def refuse_chunk(session: Conversation, argument: str, no: Reply) -> None:
    """Read and forget a chunk that may not come now, and say *no*."""
    try:
        octets, _ = parse_chunk(argument)
    except Malformed as error:
        _lose_track(session, error)
        return
    # RFC 3030 §2: the octets of a chunk are read and discarded before it is refused.
    await _skip(session, octets)
    if session.chunks.have_failed and session.state is State.GREETED:
        # They were sent before their client could hear of the one that failed: no failures of their own.
        session.reply(no)
    else:
        session.refuse(no, "BDAT", str(no))


def _lose_track(session: Conversation, error: Malformed) -> None:
    # Octets follow, and nobody knows how many: the next command cannot be found.
    session.refuse(reply_to(error), "BDAT", error.reason)
    session.reply(replies.LOST_TRACK)
    session.hang_up("no length of a chunk")


async def _skip(session: Conversation, octets: int) -> None:
    is_stranger = session.identity is None and session.service.authority is not None
    # A stranger has no more time for all of them than for a command; from others there may come as many as will.
    await session.skip(octets, session.loop.time() + session.patience if is_stranger else None)


def _begin(session: Conversation) -> ChunkReader:
    service = session.service
    reader = ChunkReader(service.spool.begin(), session.message_limit, service.content)
    watch(session, reader)
    reader.signing = signing_of(service.signer)
    return reader


async def _is_kept(reader: ChunkReader) -> bool:
    """Let the spool keep up; tell whether nothing is wrong so far."""
    if reader.fault is None:
        try:
            await reader.incoming.drain()
        except SpoolUnavailable as error:
            reader.fail(reply_to(error))
    return reader.fault is None
