"""Which command is allowed when, and what is said when it is not (RFC 5321 §4.1.4, RFC 4954 §4, RFC 3207 §4)."""

from __future__ import annotations

import enum

from gatepost.model import reply as replies
from gatepost.model.reply import Reply

__all__ = ["State", "refusal"]


class State(enum.IntEnum):
    """Where a session stands; each includes what came before."""

    CONNECTED = 0  # no EHLO or HELO yet
    GREETED = 1
    MAIL = 2  # a transaction is open
    RCPT = 3  # it has a recipient
    CHUNKS = 4  # its content has begun to come, by BDAT


# RFC 3207 §4: where TLS is required, only these work in clear; RFC 4954 §4 has a reply of its own for AUTH.
_IN_CLEAR = frozenset({"EHLO", "HELO", "STARTTLS", "NOOP", "RSET", "QUIT"})
# RFC 4954 §6: where a login is required, only these work without.
_WITHOUT_LOGIN = _IN_CLEAR | {"AUTH"}

_BEFORE_MAIL = {State.CONNECTED: replies.SAY_EHLO_FIRST, State.GREETED: replies.NEED_MAIL}
_IN_TRANSACTION = dict.fromkeys((State.MAIL, State.RCPT, State.CHUNKS), replies.BAD_SEQUENCE)

# Command: the states it is allowed in, and what is said in the others.
_ORDER: dict[str, tuple[frozenset[State], dict[State, Reply]]] = {
    "AUTH": (
        frozenset({State.GREETED}),
        # RFC 4954 §4: AUTH is not permitted during a mail transaction.
        {State.CONNECTED: replies.SAY_EHLO_FIRST, **_IN_TRANSACTION},
    ),
    "STARTTLS": (
        frozenset({State.CONNECTED, State.GREETED}),
        _IN_TRANSACTION,
    ),
    "MAIL": (
        frozenset({State.GREETED}),
        # RFC 5321 §4.1.4: MAIL comes after EHLO or HELO, and once in a transaction.
        {State.CONNECTED: replies.SAY_EHLO_FIRST} | dict.fromkeys(_IN_TRANSACTION, replies.NESTED_MAIL),
    ),
    "RCPT": (
        frozenset({State.MAIL, State.RCPT}),
        _BEFORE_MAIL | {State.CHUNKS: replies.BAD_SEQUENCE},
    ),
    "DATA": (
        frozenset({State.MAIL, State.RCPT}),  # without recipients it has a reply of its own
        # RFC 3030 §2: DATA and BDAT do not come in one transaction.
        _BEFORE_MAIL | {State.CHUNKS: replies.BAD_SEQUENCE},
    ),
    "BDAT": (frozenset({State.MAIL, State.RCPT, State.CHUNKS}), _BEFORE_MAIL),
}


def refusal(command: str, state: State, *, needs_tls: bool, needs_login: bool) -> Reply | None:
    """Say why *command* is not allowed now; None if it is.

    Args:
        command: in upper case.
        state: where the session stands.
        needs_tls: whether TLS is required and missing.
        needs_login: whether a login is required and missing.
    """
    if needs_tls and command not in _IN_CLEAR:
        return replies.AUTH_NEEDS_TLS if command == "AUTH" else replies.TLS_REQUIRED
    if needs_login and command not in _WITHOUT_LOGIN:
        return replies.AUTH_REQUIRED
    order = _ORDER.get(command)
    if order is None or state in order[0]:
        return None
    return order[1][state]
