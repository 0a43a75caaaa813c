"""Where a directory is, as its URL says it (RFC 4516): ldap, ldaps, or ldapi for a socket on this machine."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

__all__ = ["Server", "parse_server"]

_URL: Final = re.compile(r"(ldaps?)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?/?")
_SOCKET: Final = re.compile(r"ldapi://((?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)/?")
_PORTS: Final = {"ldap": 389, "ldaps": 636}
# Where OpenLDAP on Debian has it.
_USUAL_SOCKET: Final = "/run/slapd/ldapi"


class Server(NamedTuple):
    """One directory: its URL, host and port, whether TLS comes first, and the path of its socket instead of a host."""

    url: str
    host: str
    port: int
    has_tls: bool = False
    path: str = ""


def parse_server(url: str) -> Server:
    """Read a URL.

    Raises:
        ValueError: it is none of a directory, or says more than where that is.
    """
    socket = _SOCKET.fullmatch(url)
    if socket is not None:
        return Server(url, "", 0, path=unquote(socket[1]) or _USUAL_SOCKET)
    found = _URL.fullmatch(url)
    port = int((found[4] if found else None) or (_PORTS[found[1]] if found else 0))
    if found is None or not 0 < port < 65536:
        raise ValueError("is no URL of a directory; write ldaps://host, ldap://host:389 or ldapi://%2Fpath")
    return Server(url, found[2] or found[3], port, found[1] == "ldaps")
