"""STARTTLS: go on in TLS (RFC 3207)."""

from __future__ import annotations

from gatepost.session.extensions.extension import Extension

__all__ = ["STARTTLS"]

# RFC 3207 §4.2: not offered once TLS is active.
STARTTLS = Extension("STARTTLS", lambda moment: "STARTTLS" if moment.offers_tls and not moment.is_tls else None)
