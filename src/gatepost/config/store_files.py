"""See whether the files that a store is asked with can be used: certificates, keys, secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.config.locate import Key

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_readable", "check_tls_files"]


def check_tls_files(
    ca_file: Path | None, certificate: Path | None, certificate_key: Path | None, key: Key, findings: Findings
) -> None:
    """Look at what TLS is made of."""
    from gatepost.identity.stores.http_context import client_context

    if certificate_key is not None and certificate is None:
        findings.wrong((*key, "key"), "has no certificate; add it")
    for name, files in (
        ("ca_file", (ca_file, None, None)),
        ("certificate", (None, certificate, certificate_key)),
    ):
        try:
            client_context(*files)
        except OSError as error:
            reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no good PEM"
            findings.wrong((*key, name), f"cannot be used ({reason}); correct the path or the file")
        else:
            holder = certificate_key or certificate
            if name == "certificate" and holder is not None:
                check_readable(holder, (*key, "key"), findings)


def check_readable(path: Path, key: Key, findings: Findings) -> None:
    """Warn of a secret that everybody can read."""
    # Secrets that a container is given are readable for all that run in it.
    if path.stat().st_mode & 0o007 and not path.is_relative_to("/run/secrets"):
        findings.odd(key, f"can be read by everybody on this machine; run: chmod o= {path}")
