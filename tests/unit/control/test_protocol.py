"""Lines of the control sockets, and where the sockets are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.control.protocol import decode, encode, reachable, socket_path, socket_paths
from gatepost.errors import Malformed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_one_line_and_read_back(message: dict[str, Any]) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode(line) == message


@given(st.binary(max_size=200))
def test_every_line_is_an_object_or_malformed(line: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert isinstance(decode(line), dict)


@pytest.mark.parametrize("line", [b"", b"null", b"[1]", b'"status"', b"[" * 16_000, b"{" * 16_000, b"9" * 9999])
def test_what_is_no_object_is_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        decode(line)


def test_sockets_are_found_by_number_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("worker-10.sock", "worker-2.sock", "worker-02.sock", "worker-x.sock", "worker-1.sock.77", "metrics"):
        (tmp_path / name).touch()
    assert list(socket_paths(tmp_path).items()) == [
        (2, tmp_path / "worker-2.sock"),
        (10, tmp_path / "worker-10.sock"),
    ]
    assert socket_path(tmp_path, 2) == tmp_path / "worker-2.sock"
    assert socket_paths(tmp_path / "nowhere") == {}


def test_an_address_is_short_enough_however_long_the_path_is(tmp_path: Path) -> None:
    short = Path("/run/worker-0.sock")
    with reachable(short) as address:
        assert address == str(short)
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    with reachable(folder / "worker-0.sock") as address:
        assert len(os.fsencode(address)) <= 107
        Path(address).touch()
    assert (folder / "worker-0.sock").exists()
