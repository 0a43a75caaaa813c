"""Ways to fake the end of data, and what would be smuggled behind it."""

from __future__ import annotations

__all__ = ["FAKES", "HEADER", "SMUGGLED"]

HEADER = b"From: <tim@example.org>\r\nSubject: cover\r\n\r\n"
SMUGGLED = (
    b"MAIL FROM:<tim@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    b"From: <tim@example.org>\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
)

# What might be taken for the end of data by somebody, and is not.
FAKES = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CRLF.CR": b"\r\n.\r",
    "CR.CRLF": b"\r.\r\n",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "LFCR.LFCR": b"\n\r.\n\r",
    "CRCRLF.CRLF": b"\r\r\n.\r\r\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "LF NUL.CRLF": b"\n\0.\r\n",
    "LF..CRLF": b"\n..\r\n",
    "CRLF..LF": b"\r\n..\n",
}
