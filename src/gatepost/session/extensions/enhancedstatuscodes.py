"""ENHANCEDSTATUSCODES: replies carry codes of RFC 3463 (RFC 2034)."""

from __future__ import annotations

from gatepost.session.extensions.extension import Extension

__all__ = ["ENHANCEDSTATUSCODES"]

# RFC 2034 §3: the keyword has no parameters.
ENHANCEDSTATUSCODES = Extension("ENHANCEDSTATUSCODES", lambda _: "ENHANCEDSTATUSCODES")
