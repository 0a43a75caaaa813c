"""Kills at random moments while mail goes through: no 250 was a lie (`make crash` does it for as long as asked)."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.crash import Crash


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_message_that_got_its_250_arrives_whatever_dies(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Crash(tmp_path, seed).run(kills=12, pause=1.5, messages=150)
    with capsys.disabled():
        print(f"\nseed {seed}: {report}")
    assert len(report.deaths) >= 12
    assert len(report.accepted) >= 150
    assert len(report.settled) > len(report.accepted) // 2
    assert report.lost == []
    # Only what was in flight when something died may arrive twice.
    assert report.twice_without_need == []
