"""What all sessions of one listener share: limits, and the parts that a session asks."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.model.envelope import MessageId, Transaction
from gatepost.model.verdict import Verdict
from gatepost.observe.emit import Emitter
from gatepost.policy.policy import Stage
from gatepost.session.auth import Authority
from gatepost.session.data import ContentLimits
from gatepost.spool.spool import Spool
from gatepost.state.guesses import Guesses
from gatepost.state.unheard import Unheard

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["LEAST_DELAY", "Limits", "Policies", "Service", "session_names"]


class Policies(Protocol):
    """Who may do what.

    Attributes:
        is_immediate: whether no policy waits for anybody before it judges.
    """

    is_immediate: bool

    async def check(self, stage: Stage, transaction: Transaction) -> Verdict:
        """Ask every policy of *stage*; return the first no."""
        ...

    def undo(self, transaction: Transaction) -> None:
        """Return what was taken for *transaction*, whose message could not be kept."""
        ...


LEAST_DELAY: Final = 0.01
"""No failed login is answered sooner, in seconds: what each mechanism does besides hashing lies within."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that bound a session.  Times are in seconds, sizes in octets.

    Args:
        message_bytes: largest message; an account may have a smaller one.
        recipients: how many a message may have, where a policy sees to it; an account may have fewer.
        auth_failures: failed logins after which the connection ends.
        failure_delay: when the first failed login is answered, counted from the client's last line; the second one
            takes twice as long, and so on.
        unknown_commands: unknown commands and cancelled logins after which the connection ends.
        commands_before_login: commands of any kind after which a connection without a login ends.
        refused_commands: commands that got a 5yz since the last message was kept, after which the connection ends.
        login_patience: how long to wait for a line before login.
        idle_patience: how long to wait for a line after login (RFC 5321 §4.5.3.2.7).
        data_patience: how long to wait for more data (RFC 5321 §4.5.3.2.5).
        handshake_patience: how long a TLS handshake may take.
        login_time: how long after connecting a session without a login ends.
        session_time: how long after connecting any session ends; one in a transaction has twice as long.
    """

    message_bytes: int = 26_214_400
    recipients: int | None = None
    auth_failures: int = 3
    failure_delay: float = 1.0
    unknown_commands: int = 10
    commands_before_login: int = 100
    refused_commands: int = 100
    login_patience: float = 60.0
    idle_patience: float = 300.0
    data_patience: float = 180.0
    handshake_patience: float = 30.0
    login_time: float = 180.0
    session_time: float = 3600.0


def session_names() -> Iterator[str]:
    """Give ids that never come twice from one worker, and hardly from two: ten hexadecimal digits."""
    number = secrets.randbits(40)
    while True:
        # An odd step visits every number once before one comes again.
        number = (number + 0x9E3779B97F) & 0xFFFFFFFFFF
        yield f"{number:010x}"


@dataclass(slots=True, eq=False)
class Service:
    """The surroundings of a session.

    Args:
        hostname: our name, as in the greeting.
        listener: name of the listener.
        spool: where messages go.
        authority: who knows about logins.  None lets everybody in, and is only for a session that somebody embeds
            with a handler of their own: nothing is relayed for it.
        policies: who may do what.
        emit: hears of every fact.
        clock: what time it is.
        wake: told of each message that was kept.
        tls_context: for STARTTLS; None where it is not offered.
        require_tls: whether nothing but STARTTLS is done in clear.
        limits: the numbers.
        content: what content is taken.
        signer: signs messages; None where nobody does.
        names: gives each session its id.
        guesses: counts failed logins over all workers; None counts them for each session only.
        unheard: messages that were kept, and whose clients cannot know it; None where they are not looked for.
        sessions: those that are open.
        is_draining: whether the server is about to stop: a session may give one message more if it has given none.
        turns_away: whether who connects now hears 421, because nobody will accept after us.
    """

    hostname: str
    listener: str
    spool: Spool
    authority: Authority | None
    policies: Policies
    emit: Emitter
    clock: Clock
    wake: Callable[[MessageId], None]
    tls_context: ssl.SSLContext | None = None
    require_tls: bool = True
    limits: Limits = field(default_factory=Limits)
    content: ContentLimits = field(default_factory=ContentLimits)
    guesses: Guesses | None = None
    signer: Signer | None = None
    unheard: Unheard | None = None
    names: Iterator[str] = field(default_factory=session_names)
    sessions: set[Conversation] = field(default_factory=set)
    is_draining: bool = False
    turns_away: bool = False
