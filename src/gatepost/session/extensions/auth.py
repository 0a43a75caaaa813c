"""AUTH: which mechanisms work now, and the AUTH parameter of MAIL (RFC 4954)."""

from __future__ import annotations

from gatepost.errors import Malformed
from gatepost.model.xtext import decode_xtext
from gatepost.session.extensions.extension import Extension, Moment
from gatepost.session.params import MailParameters

__all__ = ["AUTH"]


def _announce(moment: Moment) -> str | None:
    # RFC 4954 §3: the keyword is followed by the names of the mechanisms.
    return f"AUTH {' '.join(moment.mechanisms)}" if moment.mechanisms else None


def _read(value: str | None, _: MailParameters) -> None:
    # RFC 4954 §5: every server that offers AUTH takes AUTH= on MAIL.  We trust no client to speak for others, so any
    # good xtext is treated as "<>", whether it holds an address or not.
    if value is None:
        raise Malformed("AUTH without a value", enhanced="5.5.4", text="Bad value of AUTH")
    decode_xtext(value)


AUTH = Extension("AUTH", _announce, {"AUTH": _read})
