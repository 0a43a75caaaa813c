"""What honest users get while others guess: hashing must not take the processor from whoever is known."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import PASSWORD, Subject, load_with, send, words
from report import Row
from subjects import gatepost

from servers import Authority

__all__ = ["attack"]

_ATTACKERS = 32
_SECONDS = 20
_HONEST = f"--conns 32 --seconds {_SECONDS}"
# From addresses of their own, each on a new connection: as fast as they are let.
_GUESSES = f"--conns {_ATTACKERS} --src-spread 200 --seconds {_SECONDS + 4} --timeout 90"
_BAR = 0.7
# The bar is for those who guess.  Who hangs up early makes so many handshakes that these count; what of it is hashing,
# those show who come as often and guess nothing.
_KINDS = {
    "guess, and wait for their no": ("--guess 0", _BAR),
    "guess, and hang up after 100 ms": ("--guess 100", None),
    "guess nothing, and hang up after 100 ms": ("--guess 100 --mute", None),
}


@contextmanager
def _guessing(subject: Subject, how: str) -> Iterator[dict[str, Any]]:
    """Let others guess meanwhile; what became of that is in what is yielded, afterwards."""
    said: dict[str, Any] = {}
    client = subprocess.Popen(words(subject, f"{_GUESSES} {how}"), stdout=subprocess.PIPE, text=True)
    try:
        yield said
        out, _ = client.communicate(timeout=120)
        said |= json.loads(out.splitlines()[-1])
    finally:
        client.kill()
        client.wait()


def attack(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Lay the rate of returning users with a chosen secret beside the same while 32 others guess.

    All go on in turn against the same server.  What the attackers' client takes of the processor itself is shown: it is
    no fault of the server's.
    """
    alone: list[float] = []
    beside: dict[str, list[float]] = {name: [] for name in _KINDS}
    guesses: dict[str, dict[str, Any]] = {}
    for repeat in range(repeats):
        own = folder / str(repeat)
        own.mkdir()
        with gatepost(own, authority, secret=PASSWORD) as subject:
            send(subject, "--conns 8 --sessions 40")
            alone.append(_rate(load_with(subject, _HONEST)))
            for name, (how, _) in _KINDS.items():
                with _guessing(subject, how) as guesses[name]:
                    beside[name].append(_rate(load_with(subject, _HONEST)))
                shown = f"{beside[name][-1]:.0f}/s while 32 {name}"
                print(f"{repeat + 1}/{repeats} (attack) {alone[-1]:.0f}/s alone, {shown}: {_said(guesses[name])}")
    base = statistics.median(alone)
    rows = [Row("(a) with argon2id, nobody guesses, messages a second", f"{base:.0f}")]
    for name, (_, bar) in _KINDS.items():
        share = statistics.median(beside[name]) / base
        what = f"the same while {_ATTACKERS} {name} ({_said(guesses[name])}), of that"
        rows.append(Row(what, f"{share:.2f}", f"{bar or ''}", None if bar is None else share >= bar))
    return rows


def _rate(said: dict[str, Any]) -> float:
    if said["sessions_failed"]:
        raise RuntimeError(f"honest sessions failed: {said['errors']}")
    rate: float = said["msgs_per_s"]
    return rate


def _said(guesses: dict[str, Any]) -> str:
    seconds = guesses["elapsed_s"]
    judged, rest = guesses["judged"] / seconds, (guesses["turned_away"] + guesses["given_up"]) / seconds
    cores = (guesses["client_cpu_user_s"] + guesses["client_cpu_sys_s"]) / seconds
    return f"{judged:.0f} judged and {rest:.0f} more a second, for which they take {cores:.2f} cores"
