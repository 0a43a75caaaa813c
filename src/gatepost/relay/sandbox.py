"""The sandbox transport: keeps mail in a folder instead of sending it.

Each message is two files, named after its id: ``<id>.eml``, octet for octet what a next hop would have got, and
``<id>.json``, its envelope.  Both are written under other names, synced and renamed, the ``.eml`` last: once that is
there, both are whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from gatepost.errors import Misuse, SpoolUnavailable
from gatepost.model.delivery import Cause, Deferred, Delivered, Handover, RemoteReply, Result
from gatepost.relay.sandbox_order import SandboxOrder, alone
from gatepost.relay.transport import Delivery

__all__ = ["Sandbox"]

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Sandbox:
    """A folder that keeps mail.

    Args:
        name: name of the route it serves.
        path: the folder; it is made when the first message comes.
        keep: how many messages stay, of all workers; the oldest go when more come.
        now: the time of day, in seconds since the epoch.
    """

    def __init__(self, name: str, path: Path, *, keep: int = 1000, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self._path = path
        self._keep = keep
        self._now = now
        self._order = SandboxOrder(path)
        self._lock = threading.Lock()

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Keep the message; return one result per recipient.

        Raises:
            SpoolUnavailable: the content cannot be read.
            Misuse: the id cannot be the name of a file.
        """
        if _SAFE_NAME.fullmatch(delivery.message_id) is None:
            raise Misuse(f"{delivery.message_id!r} cannot be the name of a file")
        try:
            await self._store(delivery)
        except OSError as error:
            reply = RemoteReply.ours(451, "4.3.0", f"the sandbox cannot be written: {error.strerror}")
            return [Deferred(reply, self.name, Cause.NEXT_HOP)] * len(delivery.recipients)
        reply = RemoteReply.ours(250, "2.0.0", f"kept in the sandbox as {delivery.message_id}.eml")
        return [Delivered(reply, self.name, Handover.DELIVERED)] * len(delivery.recipients)

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    async def _store(self, delivery: Delivery) -> None:
        content = delivery.content
        part = self._path / f"{delivery.message_id}.eml.part"
        try:
            if content.inline is not None:
                await asyncio.to_thread(self._write, part, content.inline)
            else:
                file = _Part(part)
                written_bytes = 0
                try:
                    async for chunk in content.chunks():
                        written_bytes += await asyncio.to_thread(file.write, chunk)
                    if written_bytes != content.size_bytes:
                        raise SpoolUnavailable(f"content has {written_bytes} octets instead of {content.size_bytes}")
                    await asyncio.to_thread(file.sync)
                finally:
                    await asyncio.to_thread(file.close)
            await asyncio.to_thread(self._finish, delivery, part)
        except BaseException:
            await asyncio.to_thread(self._forget_parts, delivery.message_id)
            raise

    # What follows runs in threads.

    def _write(self, part: Path, octets: bytes) -> None:
        with contextlib.closing(_Part(part)) as file:
            file.write(octets)
            file.sync()

    def _forget_parts(self, message_id: str) -> None:
        for suffix in ("eml", "json"):
            with contextlib.suppress(OSError):  # the folder itself may be what is wrong
                (self._path / f"{message_id}.{suffix}.part").unlink()

    def _finish(self, delivery: Delivery, part: Path) -> None:
        """Give both files their names, durably, and let the oldest messages go."""
        message_id = delivery.message_id
        with self._lock:
            envelope_part = self._path / f"{message_id}.json.part"
            self._write(envelope_part, self._envelope(delivery))
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with alone(folder):
                    envelope_part.rename(self._path / f"{message_id}.json")
                    part.rename(self._path / f"{message_id}.eml")
                    for oldest in self._order.bring(message_id, self._keep):
                        for suffix in ("eml", "json"):
                            (self._path / f"{oldest}.{suffix}").unlink(missing_ok=True)
                os.fsync(folder)
            finally:
                os.close(folder)

    def _envelope(self, delivery: Delivery) -> bytes:
        """Return the envelope as JSON; recipients of an earlier delivery of the same message stay in it."""
        envelope = delivery.envelope
        recipients = [str(each) for each in delivery.recipients]
        try:
            before = json.loads((self._path / f"{delivery.message_id}.json").read_bytes())["recipients"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            before = []
        facts = {
            "id": delivery.message_id,
            "kept_at": datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds"),
            "reverse_path": "" if envelope.reverse_path is None else str(envelope.reverse_path),
            "recipients": list(dict.fromkeys([*before, *recipients])),
            "account": envelope.account,
            "credential": envelope.credential,
            "body": envelope.body.value,
            "smtputf8": envelope.smtputf8,
            "size_bytes": delivery.content.size_bytes,
        }
        return json.dumps(facts, ensure_ascii=False, indent=2).encode() + b"\n"


class _Part:
    """A file that is being written, by one thread after another.

    A cancelled task leaves its thread at work; ``close`` waits for it, and nothing is opened or written after that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, octets: bytes) -> int:
        """Write *octets*, and return how many they are; the first call makes the file, and its folder."""
        with self._lock:
            return self._open().write(octets)

    def sync(self) -> None:
        """Return when all of it is on the disk."""
        with self._lock:
            file = self._open()
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file, if it was opened."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()

    def _open(self) -> BinaryIO:
        if self._is_closed:
            raise Misuse(f"{self._path.name} is closed")
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        return self._file
