"""Dot-stuffing: how content travels after DATA (RFC 5321 §4.5.2), over whole buffers."""

from __future__ import annotations

__all__ = ["DotStuffer", "stuff"]

END = b".\r\n"


def stuff(content: bytes) -> bytes:
    """Return all of *content* as it goes over the wire, with the final dot."""
    stuffed = _stuff_lines(content)
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    # RFC 5321 §4.1.1.4: the dot that ends the content stands alone on its line.
    return stuffed + END if not stuffed or stuffed.endswith(b"\r\n") else stuffed + b"\r\n" + END


def _stuff_lines(content: bytes) -> bytes:
    # RFC 5321 §4.5.2: a line that starts with a dot gets one more.  Much content has no dot at all, which is seen fast.
    return content.replace(b"\r\n.", b"\r\n..") if content.find(b".") >= 0 else content


class DotStuffer:
    """Stuffs content that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets so far; the content starts like a line

    def feed(self, piece: bytes) -> bytes:
        """Return *piece* as it goes over the wire."""
        if not piece:
            return b""
        stuffed = _stuff_lines(piece)
        # A line may start at the border: after CRLF, or after CR when the LF is the first octet here.
        if self._tail == b"\r\n" and piece.startswith(b"."):
            stuffed = b"." + stuffed
        elif self._tail.endswith(b"\r") and piece.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        self._tail = (self._tail + piece[-2:])[-2:]
        return stuffed

    def finish(self) -> bytes:
        """Return the end of the content, with the final dot."""
        return END if self._tail == b"\r\n" else b"\r\n" + END
