"""Octets at a path that nobody else can change, for a library that takes nothing but paths."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["memory_file"]


@contextlib.contextmanager
def memory_file(octets: bytes) -> Iterator[str]:
    """Give *octets* a path: OpenSSL's loader takes nothing else, and the file may have changed since."""
    descriptor = os.memfd_create("gatepost-tls", os.MFD_CLOEXEC)
    try:
        view = memoryview(octets)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
