"""Look for secrets where none may be, in every form in which something may have written them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from servers import wait_for

__all__ = ["files", "findings", "forms", "processes", "wait_for_begin"]


def forms(secret: str) -> dict[str, bytes]:
    """Return each form of *secret* by what it is called; base64 at each of the three places it may have in a text."""
    raw = secret.encode()
    made = {
        "plain": raw,
        "latin-1": secret.encode("latin-1", "replace"),
        "repr": repr(raw)[2:-1].encode(),
        "json": json.dumps(secret)[1:-1].encode(),
        "json, not ascii": json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "utf-16-le": secret.encode("utf-16-le"),
        "utf-16-be": secret.encode("utf-16-be"),
    }
    for name, text in (("url", urllib.parse.quote(raw, safe="")), ("url, plus", urllib.parse.quote_plus(raw))):
        made[name] = text.encode()
        made[f"{name}, lower"] = re.sub("%..", lambda found: found[0].lower(), text).encode()
    for offset in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            # Without the digits that hold bits of what stands before and after.
            first = (0, 2, 3)[offset]
            whole = (offset + len(raw)) * 8 // 6
            made[f"{name}+{offset}"] = encode(b"\0" * offset + raw)[first:whole]
    return made


def findings(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """Return which of *secrets*, by their names, stands where, and in which form."""
    found = []
    for name, secret in secrets.items():
        for form, octets in forms(secret).items():
            found += [f"{name}, {form}: in {place}" for place, content in places.items() if octets in content]
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below *folder*."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                contents[str(path)] = path.read_bytes()
    return contents


def processes(root: int) -> dict[str, bytes]:
    """Return command line and environment of a process and of all that it began."""
    contents = {}
    pids = [root]
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                contents[f"/proc/{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
    return contents


def wait_for_begin(process: subprocess.Popen[bytes]) -> None:
    """Wait until *process* has ended or has its command line, which the kernel gives it a little after its begin."""
    line = Path(f"/proc/{process.pid}/cmdline")
    wait_for("a command line", lambda: process.poll() is not None or line.read_bytes(), seconds=60)
