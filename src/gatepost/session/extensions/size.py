"""SIZE: say how big a message may be, and hear how big one will be (RFC 1870)."""

from __future__ import annotations

from gatepost.errors import Malformed
from gatepost.session.extensions.extension import Extension
from gatepost.session.params import MailParameters

__all__ = ["SIZE"]


def _read(value: str | None, parameters: MailParameters) -> None:
    # RFC 1870 §3: 1 to 20 digits.
    if value is None or not 1 <= len(value) <= 20 or not (value.isascii() and value.isdigit()):
        raise Malformed("bad SIZE", enhanced="5.5.4", text="Bad value of SIZE")
    parameters.size = int(value)


SIZE = Extension("SIZE", lambda moment: f"SIZE {moment.message_bytes}", {"SIZE": _read})
