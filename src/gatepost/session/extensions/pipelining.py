"""PIPELINING: commands may come in groups; they are answered in order (RFC 2920)."""

from __future__ import annotations

from gatepost.session.extensions.extension import Extension

__all__ = ["PIPELINING"]

# RFC 2920 §3.1: the keyword has no parameters.
PIPELINING = Extension("PIPELINING", lambda _: "PIPELINING")
