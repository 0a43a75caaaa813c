"""What of a new configuration takes effect while the server runs, and what has to wait for a restart."""

from __future__ import annotations

from gatepost.config.locate import Key
from gatepost.config.schema import Config, Listener

__all__ = ["keep_standing", "needs_restart"]

_FIXED = ("state_dir", "secret_key_file", "workers", "admin")
_FREE_LISTENER = ("mechanisms", "proxy_networks")
_FREE_WHERE_ASKED = (*_FREE_LISTENER, "client_ca", "client_crl", "client_identity")
_FIXED_OBSERVE = ("log_file", "log_format", "log_level", "audit_file")


def keep_standing(old: Config, new: Config) -> Config:
    """Return *new* with everything of *old* that cannot change in a running server."""
    written = {each.name: each for each in new.listener}
    return new.model_copy(
        update={
            **{name: getattr(old, name) for name in _FIXED},
            "observe": old.observe,
            "listener": tuple(_changed(each, written.get(each.name, each)) for each in old.listener),
        }
    )


def needs_restart(old: Config, new: Config) -> list[str]:
    """Name what differs and waits for a restart, each as ``file:line: key: …``."""
    changed: list[Key] = [(name,) for name in _FIXED if getattr(old, name) != getattr(new, name)]
    changed += [
        ("observe", name) for name in _FIXED_OBSERVE if getattr(old.observe, name) != getattr(new.observe, name)
    ]
    if [_socket(each) for each in old.listener] != [_socket(each) for each in new.listener]:
        changed.append(("listener",))
    return [new.source.problem(key, "changed, and takes effect at the next restart only") for key in changed]


def _socket(listener: Listener) -> tuple[object, ...]:
    return (
        *(listener.name, listener.address, listener.port, listener.tls, listener.legacy_tls_networks),
        listener.client_ca is not None,
    )


def _changed(old: Listener, new: Listener) -> Listener:
    # Whether it asks for certificates is settled with its socket.
    is_asking = old.client_ca is not None and new.client_ca is not None
    return old.model_copy(
        update={name: getattr(new, name) for name in (_FREE_WHERE_ASKED if is_asking else _FREE_LISTENER)}
    )
