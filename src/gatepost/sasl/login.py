"""LOGIN: name and password, one after the other (draft-murchison-sasl-login): old programs know nothing else."""

from __future__ import annotations

from gatepost.sasl import password
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.steps import Exchange, Outcome, ask

__all__ = ["LOGIN", "NAME_PROMPT", "PASSWORD_PROMPT"]

# The draft says "User Name" and "Password", each with NUL; clients that look at all compare with these.
NAME_PROMPT = b"Username:"
PASSWORD_PROMPT = b"Password:"


def exchange(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server; an initial response is the name (Outlook, swaks and others send it)."""
    authcid = (yield from ask(NAME_PROMPT)) if initial is None else initial
    secret = yield from ask(PASSWORD_PROMPT)
    return (yield from password.judge(authcid, secret))


LOGIN = Mechanism("LOGIN", exchange, Needs.CHECK_PASSWORD)
