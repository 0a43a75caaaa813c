"""Every dialog is held with a real session: sockets, TLS, SQLite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dialogs.player import play, read_dialog

HERE = Path(__file__).parent
DIALOGS = [read_dialog(path) for path in sorted(HERE.glob("*.smtp"))]


@pytest.mark.parametrize(
    "dialog",
    [pytest.param(each, id=each.path.stem, marks=[pytest.mark.rfc(mark) for mark in each.marks]) for each in DIALOGS],
)
async def test_the_conversation_goes_as_written(dialog, dialog_server):
    server = dialog_server
    port = server.ports["submissions" if dialog.is_implicit else "submission"]
    await asyncio.to_thread(play, dialog, ("127.0.0.1", port), server.client_context, "localhost")
    assert not server.troubles, "the server had trouble of its own"
