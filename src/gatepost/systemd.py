"""What passes between systemd and a server: sockets handed over (sd_listen_fds), states told (sd_notify).

The parent calls `inherited_sockets` once, before it binds, gives the sockets to the listeners with `assign`, and then
tells with `notify` how it is.  Without systemd all of it does nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping

from gatepost.errors import ConfigError

__all__ = ["assign", "inherited_sockets", "notify"]

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Take the listening sockets that were handed to this process, and their variables out of *environ*.

    Returns:
        The sockets, non-blocking and not inherited by programs, by ``FileDescriptorName=``; one that has none, or the
        name of another before it, is called by its address and port.

    Raises:
        ConfigError: what was handed over is no listening TCP socket.
    """
    pid, _, count, names = (environ.pop(name, "") for name in _VARIABLES)
    # Variables for another process (a shell between systemd and us) are none of ours.
    if pid != str(os.getpid()):
        return {}
    if not (count.isascii() and count.isdecimal()):
        raise ConfigError(f"environment:LISTEN_FDS: {count!r} is no number; start gatepost from its socket unit")
    named = names.split(":")
    found: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as undo:
        for number in range(int(count)):
            sock = undo.enter_context(_adopt(_FIRST + number))
            name = named[number] if number < len(named) else ""
            # systemd names a socket after its unit, or "unknown", if it was given no name.
            if name in ("", "unknown") or name.endswith(".socket") or name in found:
                name = _place(sock)
            if name in found:
                raise ConfigError(f"socket {name}: is handed over twice; keep one ListenStream= for it")
            found[name] = sock
        undo.pop_all()
    return found


def _adopt(descriptor: int) -> socket.socket:
    what = f"environment:LISTEN_FDS: descriptor {descriptor}"
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"{what}: cannot be used ({error.strerror}); start gatepost from its socket unit") from None
    try:
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError(f"{what}: is no listening TCP socket; write ListenStream=, and Accept=no")
        sock.setblocking(False)
        # Inherited by each connection, as for the sockets that we bind.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _place(sock: socket.socket) -> str:
    address, port = sock.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def assign(
    inherited: Mapping[str, socket.socket], listeners: Iterable[tuple[str, str, int]]
) -> dict[str, socket.socket]:
    """Give each inherited socket to its listener: the one of its name, else the one of its address and port.

    Args:
        inherited: as `inherited_sockets` returns them.
        listeners: name, address (``*`` for every) and port of each, as configured.

    Returns:
        Sockets by the name of the listener; a listener that got none binds for itself.

    Raises:
        ConfigError: a socket is for no listener: its clients would wait for ever.
    """
    wanted = list(listeners)
    taken = {name: inherited[name] for name, _, _ in wanted if name in inherited}
    for name, sock in inherited.items():
        if name in taken:
            continue
        address, port = sock.getsockname()[:2]
        for listener, its_address, its_port in wanted:
            if listener not in taken and port == its_port and _is_address(its_address, address):
                taken[listener] = sock
                break
        else:
            raise ConfigError(
                f"socket {name}: is handed over for no listener ({_place(sock)}); give its unit the listener's name "
                "by FileDescriptorName=, or the listener's address and port by ListenStream="
            )
    return taken


def _is_address(configured: str, bound: str) -> bool:
    here = ipaddress.ip_address(bound.partition("%")[0])
    return here.is_unspecified if configured == "*" else here == ipaddress.ip_address(configured.partition("%")[0])


def notify(environ: Mapping[str, str] = os.environ, **states: str | int) -> None:
    """Tell systemd how the server is, if it asked to be told.

    Never raises and never blocks: a supervisor that does not listen must not hold up the mail.

    Args:
        environ: where ``NOTIFY_SOCKET`` stands.
        states: as in ``notify(READY=1, STATUS="2 workers")``; what else ``RELOADING=1`` wants is added.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if "RELOADING" in states:
        # Type=notify-reload holds the moment of the reload against its own clock.
        states.setdefault("MONOTONIC_USEC", time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
    text = "".join(f"{name}={' '.join(str(value).splitlines())}\n" for name, value in states.items())
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        # "@" stands for the NUL octet that begins the name of an abstract socket.
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.send(text.encode(errors="replace"))
