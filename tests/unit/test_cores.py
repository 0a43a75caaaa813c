"""The number of workers: what we may run on, and what the control group allows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.cores import cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be allowed on eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def machine(root: Path, group: str, files: dict[str, str]) -> Path:
    """Make the files that say what the control group allows."""
    for name, text in {"proc/self/cgroup": group, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "300000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "300000 100000", "sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, 2),
        # A container that shows the path of the host, of which it sees only the top.
        ("0::/docker/0123\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (
            "4:cpu,cpuacct:/x\n2:memory:/x\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "4:cpu,cpuacct:/x\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "rubbish\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": ""}, 8),
    ],
)
def test_it_is_the_lesser_of_affinity_and_quota(
    tmp_path: Path, group: str, files: dict[str, str], expected: int
) -> None:
    assert cores(machine(tmp_path, group, files)) == expected


@pytest.mark.usefixtures("eight")
def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cores(tmp_path) == 8


def test_on_this_machine_there_is_at_least_one() -> None:
    assert 1 <= cores() <= len(os.sched_getaffinity(0))
