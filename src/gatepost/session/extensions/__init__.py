"""The extensions we offer, in the order EHLO shows them (RFC 5321 §2.2)."""

from __future__ import annotations

from typing import Final

from gatepost.session.extensions.auth import AUTH
from gatepost.session.extensions.chunking import CHUNKING
from gatepost.session.extensions.dsn import DSN
from gatepost.session.extensions.eightbitmime import EIGHTBITMIME
from gatepost.session.extensions.enhancedstatuscodes import ENHANCEDSTATUSCODES
from gatepost.session.extensions.extension import Extension, Moment
from gatepost.session.extensions.limits import LIMITS
from gatepost.session.extensions.pipelining import PIPELINING
from gatepost.session.extensions.size import SIZE
from gatepost.session.extensions.smtputf8 import SMTPUTF8
from gatepost.session.extensions.starttls import STARTTLS

__all__ = ["EXTENSIONS", "MAIL_PARAMETERS", "RECIPIENT_PARAMETERS", "Extension", "Moment"]

EXTENSIONS: Final[tuple[Extension, ...]] = (
    PIPELINING,
    SIZE,
    EIGHTBITMIME,
    SMTPUTF8,
    CHUNKING,
    ENHANCEDSTATUSCODES,
    DSN,
    LIMITS,
    STARTTLS,
    AUTH,
)

MAIL_PARAMETERS: Final = {
    keyword: read for extension in EXTENSIONS for keyword, read in extension.mail_parameters.items()
}

RECIPIENT_PARAMETERS: Final = {
    keyword: read for extension in EXTENSIONS for keyword, read in extension.recipient_parameters.items()
}
