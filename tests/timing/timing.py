"""Ask a clock who exists (`make timing`): fail to log in, for each reason and with each mechanism, and compare.

Two runs against a server in its own processes: as it is configured by default, with many at once, since every no waits
for its moment; and with ``failure_delay = 0``, one after another, where only equal work can look equal.  In both the
limits are raised, or nothing would be judged.  All tries of a run are mixed in random order, each on a connection of
its own and from an address of its own.  Medians are compared with those of one class, the reference; the exit code is 1
if a class is further from it than 3 %, and further than the halves of a class are from each other (both its own and the
reference's, halved at random 200 times): where the machine is not quiet, no clock tells more.

TRIES (500) per class and mechanism, SEED, STORE (sqlite), MECHANISMS and RUNS (configured,bare) say what is done.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)

from servers import Authority
from timing.judging import Verdict, judge, table
from timing.subjects import PASSWORD_MECHANISMS, STORES, TOKEN_MECHANISMS, Subject
from timing.trying import Tried, try_to_log_in

RUNS = {"configured": ("", 24), "bare": ('failure_delay = "0s"\n', 1)}
"""What stands in ``[auth]``, and how many try at once."""

Times = dict[tuple[str, str], dict[str, list[float]]]


def tries(subject: Subject, authority: Authority, mechanisms: list[str], count: int, at_once: int, seed: int) -> Times:
    """Make all tries of a run; return seconds by mechanism, step and class."""
    chance = random.Random(seed)
    context = authority.client_context()
    plan = []
    for mechanism in mechanisms:
        bearers = subject.token_bearers if mechanism in TOKEN_MECHANISMS else subject.bearers
        plan += [(mechanism, name, of) for name, of in bearers.items() for _ in range(count)]
    chance.shuffle(plan)
    # Each try has an address of its own: whoever touched a canary is turned away for a while.
    sources = [
        f"127.{1 + number // (254 << 8)}.{number // 254 % 256}.{1 + number % 254}"
        for number in chance.sample(range(254 * 256 * 254), len(plan))
    ]

    def one(number: int) -> Tried:
        mechanism, _, of = plan[number]
        return try_to_log_in(subject.server.implicit_port, context, sources[number], mechanism, of(mechanism))

    times: Times = collections.defaultdict(lambda: collections.defaultdict(list))
    replies: collections.Counter[str] = collections.Counter()
    with ThreadPoolExecutor(at_once) as pool:
        for number, tried in enumerate(pool.map(one, range(len(plan)))):
            mechanism, name, _ = plan[number]
            for step, seconds in tried.seconds.items():
                times[mechanism, step][name].append(seconds)
            replies[tried.reply] += 1
            if number % 500 == 499:
                print(f"  {number + 1} of {len(plan)}", file=sys.stderr, flush=True)
    if len(replies) != 1:
        raise RuntimeError(f"not all noes have the same words: {dict(replies)}")
    return times


def run(name: str, store: str, mechanisms: list[str], count: int, seed: int) -> list[str]:
    """Do one run; print its tables, and return what is apart."""
    auth, at_once = RUNS[name]
    apart = []
    with tempfile.TemporaryDirectory(prefix="gatepost-timing-", dir="/var/tmp") as folder:
        authority = Authority(Path(folder) / "certificates")
        with STORES[store](Path(folder), authority, auth) as subject:
            times = tries(subject, authority, mechanisms, count, at_once, seed)
            for (mechanism, step), those in sorted(times.items()):
                reference = subject.token_reference if mechanism in TOKEN_MECHANISMS else subject.reference
                verdicts: list[Verdict] = judge({key: those[key] for key in sorted(those)}, reference)
                print(table(f"{name}, {store}, {mechanism}, {step}", verdicts, reference), flush=True)
                apart += [f"{name}, {mechanism}, {step}: {each.name}" for each in verdicts if each.is_apart]
    return apart


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--mechanisms", default=",".join((*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS)))
    parser.add_argument("--runs", default=",".join(RUNS))
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.tries} tries of each class with each mechanism\n", flush=True)
    apart = []
    for name in asked.runs.split(","):
        apart += run(name, asked.store, asked.mechanisms.split(","), asked.tries, asked.seed)
    print("\n".join(f"APART: {each}" for each in apart) or "No class is apart.")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
