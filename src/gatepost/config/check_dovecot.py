"""See whether a store that asks Dovecot can do what is expected of it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.schema import Config
from gatepost.config.stores import DovecotStore
from gatepost.config.values import is_loopback

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_dovecot"]


def check_dovecot(config: Config, store: DovecotStore, number: int, findings: Findings) -> None:
    """Look at the store with that *number*."""
    from gatepost.identity.store import MECHANISM_SCHEMES

    key: Key = ("store", number)
    if (store.socket is None) == (store.address is None):
        findings.wrong(
            key, "has no socket; name the auth-client socket of Dovecot, or its address, and only one of them"
        )
    for name, path in (("socket", store.socket), ("userdb_socket", store.userdb_socket)):
        if path is not None:
            _socket(path, (*key, name), findings)
    if store.address is not None and not is_loopback(store.where[0] if isinstance(store.where, tuple) else ""):
        findings.wrong((*key, "address"), "would send passwords in clear to another machine; use a socket of this one")
    is_last = number == len(config.store) - 1
    if store.userdb_socket is None:
        if not is_last:
            findings.wrong(
                key, "is not the last store and has no userdb_socket: it cannot say whose names it knows; add it"
            )
        if config.oauth.issuers:
            findings.wrong(key, "has no userdb_socket: it cannot say whose a token is; add it")
        if any("EXTERNAL" in (each.mechanisms or ()) for each in config.listener):
            findings.odd(key, "has no userdb_socket: it cannot say whose a name in a client certificate is; add it")
    if len(config.store) > 1 and store.timeout > config.auth.failure_delay:
        findings.odd(
            (*key, "timeout"),
            "is above auth.failure_delay: a no that Dovecot holds back would show which names it is asked for; set "
            "auth_failure_delay = 0 in Dovecot, and timeout below auth.failure_delay",
        )
    for mechanism in MECHANISM_SCHEMES:
        if mechanism in config.auth.mechanisms and findings.is_written(("auth", "mechanisms")):
            findings.odd(
                ("auth", "mechanisms"), f"holds {mechanism}, which is not offered beside a store of type dovecot"
            )


def _socket(path: Path, key: Key, findings: Findings) -> None:
    # Dovecot may be started later, and gatepost run as somebody else than whoever looks.
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:
        findings.odd(key, f"cannot be seen ({error.strerror}); start Dovecot, or correct the path")
        return
    if not is_socket:
        findings.wrong(key, "is no socket; name the unix_listener of Dovecot's service auth")
