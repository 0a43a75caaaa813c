"""What people can do about a message that failed, in plain words, by the status of the failure (RFC 3463)."""

from __future__ import annotations

from typing import Final

__all__ = ["remedy"]

_ADDRESS: Final = "Look whether the address is written correctly, and send your message again."
_SIZE: Final = "Send it in smaller parts, or without what is attached."
_LATER: Final = "Send it again later, or reach them in another way."
_REMEDIES: Final = {
    "1.0": _ADDRESS,
    "1.1": _ADDRESS,
    "1.2": _ADDRESS,
    "1.3": _ADDRESS,
    "1.6": "The mailbox has moved: ask them for their new address.",
    "1.10": _ADDRESS,
    "2.1": "The mailbox is switched off: reach them in another way.",
    "2.2": "The mailbox is full: tell them in another way, or send it again later.",
    "2.3": _SIZE,
    "3.4": _SIZE,
    "4.1": _LATER,
    "4.4": _LATER,
    "4.7": _LATER,
    "6.7": "Their server takes no addresses with letters such as these: ask them for another address.",
}
_OTHERS: Final = "If these words do not help you, show this report to whoever looks after your mail."


def remedy(status: str) -> str:
    """Return what to do about a failure with that enhanced code."""
    return _REMEDIES.get(status.partition(".")[2], _OTHERS)
