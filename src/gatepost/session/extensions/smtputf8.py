"""SMTPUTF8: addresses and header fields may be UTF-8 (RFC 6531)."""

from __future__ import annotations

from gatepost.errors import Malformed
from gatepost.session.extensions.extension import Extension
from gatepost.session.params import MailParameters

__all__ = ["SMTPUTF8"]


def _read(value: str | None, parameters: MailParameters) -> None:
    # RFC 6531 §3.4: the parameter has no value.
    if value is not None:
        raise Malformed("SMTPUTF8 with a value", enhanced="5.5.4", text="SMTPUTF8 takes no value")
    parameters.smtputf8 = True


SMTPUTF8 = Extension("SMTPUTF8", lambda _: "SMTPUTF8", {"SMTPUTF8": _read})
