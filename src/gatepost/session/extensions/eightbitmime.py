"""8BITMIME: the body may hold octets with the high bit set (RFC 6152)."""

from __future__ import annotations

from gatepost.errors import Malformed
from gatepost.model.envelope import Body
from gatepost.session.extensions.extension import Extension
from gatepost.session.params import MailParameters

__all__ = ["EIGHTBITMIME"]


def _read(value: str | None, parameters: MailParameters) -> None:
    # RFC 6152 §2: BODY is 7BIT or 8BITMIME.
    try:
        parameters.body = Body((value or "").upper())
    except ValueError:
        raise Malformed("bad BODY", enhanced="5.5.4", text="BODY must be 7BIT or 8BITMIME") from None


EIGHTBITMIME = Extension("8BITMIME", lambda _: "8BITMIME", {"BODY": _read})
