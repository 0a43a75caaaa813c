"""Open a connection to a next hop with an access token; a refused one is renewed and tried again, once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gatepost.model.identity import Secret
from gatepost.relay.opening import NextHop, Opened
from gatepost.relay.token_source import TokenSource
from gatepost.relay.trouble import Refusal, Trouble, route_trouble

__all__ = ["open_with_token"]

_LONG = re.compile(r"[A-Za-z0-9._~+/=-]{80,}")

_REMEDIES = {
    # Exchange Online's words are in the reply; what to do is not.
    "5.7.139": "SMTP AUTH is switched off for this mailbox or tenant: switch authenticated SMTP on "
    "(Set-CASMailbox -SmtpClientAuthenticationDisabled $false)",
    "5.7.3": "the token is not for this mailbox, or lacks the scope SMTP.Send: log in as the mailbox, or give the "
    "application SMTP.SendAsApp and the right to the mailbox (Add-MailboxPermission)",
    "5.7.57": "the token is not for this mailbox, or lacks the scope SMTP.Send",
    "5.7.8": "the token is not for this mailbox, or lacks the scope for SMTP: login must be whoever granted it",
}


async def open_with_token(
    next_hop: NextHop, tokens: TokenSource, reach: Callable[[NextHop], Awaitable[Opened]]
) -> Opened:
    """Open a connection by *reach*, ready for mail, logged in with one of *tokens*.

    Raises:
        Trouble: there is none.
    """
    token = await tokens.get()
    try:
        opened = await reach(replace(next_hop, token=token))
    except Refusal as refusal:
        another = await tokens.replacement(token)
        if another is None:
            raise _explained(next_hop, refusal, token) from None
        refused, token = token, another
        try:
            opened = await reach(replace(next_hop, token=token))
        except Refusal as again:
            raise _explained(next_hop, again, refused, token) from None
    tokens.accept(token)
    return opened


def _explained(next_hop: NextHop, refusal: Refusal, *tokens: Secret) -> Trouble:
    reply = refusal.reply
    remedy = _REMEDIES.get(reply.enhanced, "log in again with gatepost oauth login, and see what login may send")
    # Whoever says the token back, in whatever form, must not bring it into the log.
    said = _LONG.sub("***", str(reply))
    for each in tokens:
        said = said.replace(each.reveal().decode("ascii"), "***")
    return route_trouble("4.7.8", f"{next_hop.host} refuses our access token: {said}; {remedy}")
