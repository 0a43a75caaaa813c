"""Reach one of several addresses, of both families in turn, without long waits for a dead one (RFC 8305)."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from gatepost.model.delivery import Cause
from gatepost.relay.trouble import Trouble, next_hop_trouble, route_trouble

__all__ = ["ADDRESS_LIMIT", "ATTEMPT_DELAY", "Place", "dial", "look_up", "sources_of"]

ADDRESS_LIMIT = 8
"""How many addresses of one name are tried."""

ATTEMPT_DELAY = 0.25
"""RFC 8305 §5: how long an attempt may be on its way before the next begins beside it, in seconds."""

Place = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family and socket address, as getaddrinfo tells them."""


def sources_of(addresses: Sequence[str]) -> dict[socket.AddressFamily, str]:
    """Return addresses of ours by their family.

    Raises:
        ValueError: one is no IP address.
    """
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return {families[ipaddress.ip_address(each).version]: each for each in addresses}


async def look_up(host: str, port: int, sources: Mapping[socket.AddressFamily, str], seconds: float) -> list[Place]:
    """Return where *host* is, best first, its families in turn.

    Args:
        host: name or address.
        port: TCP port.
        sources: addresses of ours to go from; a family without one is left out, unless there is none at all.
        seconds: how long it may take.

    Raises:
        Trouble: it has no address.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise next_hop_trouble("4.4.3", f"looking up {host} took too long") from None
    except (OSError, UnicodeError) as error:
        raise next_hop_trouble("4.4.3", f"cannot look up {host}: {error}") from None
    places: dict[Place, None] = dict.fromkeys((info[0], info[4]) for info in found)
    usable = [each for each in places if not sources or each[0] in sources]
    if not usable:
        raise next_hop_trouble("4.4.3", f"{host} has no address of a family that source_address has one of")
    return _in_turn(usable)[:ADDRESS_LIMIT]


def _in_turn(places: list[Place]) -> list[Place]:
    # RFC 8305 §4: the first stays first, and after it the families take turns, each in its order.
    first = [each for each in places if each[0] == places[0][0]]
    others = [each for each in places if each[0] != places[0][0]]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None]


async def dial(
    host: str, places: deque[Place], sources: Mapping[socket.AddressFamily, str], seconds: float
) -> socket.socket:
    """Connect to one of *places*; take from them those that were reached or cannot be.

    An attempt that has not come to its end within `ATTEMPT_DELAY` goes on beside the next; the first that is connected
    wins.

    Args:
        host: what they are addresses of.
        places: at least one.
        sources: addresses of ours to go from, by family.
        seconds: how long each attempt may take.

    Raises:
        Trouble: none can be reached.
    """
    waiting = places.copy()
    running: dict[asyncio.Task[socket.socket], Place] = {}
    trouble: Trouble | None = None
    try:
        while waiting or running:
            if waiting:
                place = waiting.popleft()
                attempt = _connect(host, place, sources.get(place[0]), seconds)
                running[asyncio.ensure_future(attempt)] = place
            done, _ = await asyncio.wait(
                running, timeout=ATTEMPT_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                places.remove(running[task])
                try:
                    connected = task.result()
                except Trouble as error:
                    # Trouble with our own address comes first: it must be mended, and bounces nothing.
                    trouble = error if trouble is None or trouble.cause is not Cause.ROUTE else trouble
                else:
                    return connected
                finally:
                    del running[task]
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close)
    assert trouble is not None
    raise trouble


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close what was connected too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(host: str, place: Place, source: str | None, seconds: float) -> socket.socket:
    family, address = place
    where = f"{host}[{address[0]}]:{address[1]}"
    try:
        end = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise next_hop_trouble("4.4.1", f"cannot connect to {where}: {error.strerror}") from None
    try:
        end.setblocking(False)
        if source is not None:
            try:
                end.bind((source, 0))
            except OSError as error:
                raise route_trouble("4.4.1", f"source_address {source} cannot be used: {error.strerror}") from None
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(end, address)
        except TimeoutError:
            raise next_hop_trouble("4.4.1", f"{where} does not answer") from None
        except OSError as error:
            # The event loop puts words of its own in place of the system's.
            reason = os.strerror(error.errno) if error.errno else error
            raise next_hop_trouble("4.4.1", f"cannot connect to {where}: {reason}") from None
    except BaseException:
        end.close()
        raise
    return end
