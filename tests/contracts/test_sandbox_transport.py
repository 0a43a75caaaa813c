"""The sandbox keeps the contract of a transport."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.transport_contract import TransportContract
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.transport import Transport


class TestSandbox(TransportContract):
    folder: Path

    @pytest.fixture
    async def transport(self, tmp_path: Path) -> AsyncIterator[Transport]:
        self.folder = tmp_path / "sandbox"
        sandbox = Sandbox("sandbox", self.folder)
        yield sandbox
        await sandbox.close()

    async def received(self) -> list[tuple[str, list[str], bytes]]:
        mails = []
        for path in sorted(self.folder.glob("*.eml")):
            envelope = json.loads(path.with_suffix(".json").read_bytes())
            mails.append((envelope["reverse_path"], envelope["recipients"], path.read_bytes()))
        return mails
