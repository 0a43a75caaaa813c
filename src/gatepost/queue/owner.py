"""Mail to the owners of accounts, through our own queue: kept like any other message, and never answered."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from gatepost.message.signer import Signer
from gatepost.message.warning import ExpiryWarning, compose_warning
from gatepost.model.address import parse_mailbox
from gatepost.model.clock import Clock
from gatepost.model.envelope import Body, Envelope, MessageId, Recipient
from gatepost.observe.emit import Emitter
from gatepost.observe.events import CredentialExpiring, OwnerWarned
from gatepost.spool.spool import Draft, Spool

__all__ = ["OwnerMail"]


class OwnerMail:
    """Writes to owners in the name of this server.

    Args:
        hostname: our own name.
        spool: where their mail is kept.
        wake: hears of what was kept.
        clock: what time it is.
        emit: hears of what was done.
        signer: signs it, if it has a key of ours; None where nobody signs.
    """

    def __init__(
        self,
        hostname: str,
        spool: Spool,
        wake: Callable[[MessageId], None],
        clock: Clock,
        emit: Emitter,
        signer: Signer | None = None,
    ) -> None:
        self._hostname = hostname
        self._spool = spool
        self._wake = wake
        self._clock = clock
        self._emit = emit
        self._signer = signer
        self._serial = itertools.count(1)

    async def warn(self, event: CredentialExpiring) -> None:
        """Tell the contact of an account, if there is one, that a credential ends soon.

        Raises:
            SpoolUnavailable: the mail is not kept.
        """
        if not event.contact:
            return
        to, now = parse_mailbox(event.contact).in_ascii(), self._clock.now()
        content = compose_warning(
            ExpiryWarning(
                hostname=self._hostname,
                to=to,
                now=now,
                unique=f"{event.credential}.{int(now * 1000):x}.{next(self._serial)}",
                login=event.login,
                credential=event.credential,
                label=event.label,
                expires=event.expires,
                is_replaced=bool(event.successor),
                last_used=event.last_used,
                used_with=(event.mechanism, event.address, event.client),
            )
        )
        content, signatures = (content, 0) if self._signer is None else self._signer.sign_whole(content)
        header_bytes = content.find(b"\r\n\r\n") + 4
        envelope = Envelope(
            # RFC 3834 §3.3: nothing comes back for what no person wrote.
            reverse_path=None,
            recipients=(Recipient(to),),
            body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
            smtputf8=not (to.is_ascii and content[:header_bytes].isascii()),
            header_bytes=header_bytes,
            size_bytes=len(content),
            signatures=signatures,
        )
        receipt = await self._spool.put(Draft(envelope, content))
        self._wake(receipt.id)
        self._emit(OwnerWarned(receipt.id, event.login, event.credential, str(to)))
