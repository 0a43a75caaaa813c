"""A process that keeps, settles, holds and drops messages until it is killed; each line says what it did, or asks for.

``kept ID SIZE SEED`` after the receipt, ``settling ID`` before and ``settled ID`` after a settlement or a removal,
``bounced ID`` for each bounce that came with it, ``holding ID`` before and ``held ID 0|1`` after a hold or a release.
Each message is in flight from its receipt on: ``attempting ID`` once it is, ``landing ID`` before and ``landed ID``
after its end.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from contracts.spool_contract import commit, envelope, octets, settled
from gatepost.spool.spool import Draft, Status
from gatepost.spool.sqlite import SqliteSpool


class WallClock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def work(spool: SqliteSpool, seed: int) -> None:
    chance = random.Random(seed)
    while True:
        number = chance.getrandbits(60)
        size = chance.choice([0, 500, 4_000, 60_000, 70_000, 400_000])
        if chance.random() < 0.1:
            incoming = spool.begin()
            incoming.write(octets(size, number))
            incoming.abort()
            continue
        receipt = await commit(spool, octets(size, number))
        say("kept", receipt.id, size, number)
        spool.attempting(receipt.id)
        say("attempting", receipt.id)
        if chance.random() < 0.3:
            for is_held in (True, False)[: chance.choice([1, 2])]:
                say("holding", receipt.id)
                assert await spool.alter(receipt.id, held=is_held)
                say("held", receipt.id, int(is_held))
        if chance.random() < 0.6:
            entry = spool.entry(receipt.id)
            assert entry is not None
            drafts = (Draft(envelope(sender=None), b"bounce"),) if chance.random() < 0.3 else ()
            say("settling", receipt.id)
            if chance.random() < 0.3:
                bounces = await spool.remove(receipt.id, drafts)
                assert bounces is not None
            else:
                bounces = await spool.settle(receipt.id, settled(entry, Status.FAILED, bounces=drafts))
            say("settled", receipt.id)
            for bounce in bounces:
                say("bounced", bounce.id)
        say("landing", receipt.id)
        spool.attempted(receipt.id)
        say("landed", receipt.id)


async def main(folder: Path, seed: int) -> None:
    spool = SqliteSpool(folder, clock=WallClock(), reserve_bytes=0)
    say("ready")
    await asyncio.gather(*[work(spool, seed * 100 + number) for number in range(8)])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
