"""The TLS context with which a service is asked: its certificate is verified, and ours is shown if it wants one."""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["client_context"]


def client_context(ca_file: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Make the context.

    Args:
        ca_file: certificates to trust instead of the system's.
        certificate: ours.
        key: of our certificate; in the same file if not given.

    Raises:
        OSError: a file cannot be read, or is no PEM (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
