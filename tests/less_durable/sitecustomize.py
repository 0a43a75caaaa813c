"""Make gatepost's spool less durable than it promises: a power cut test must notice, or it proves nothing.

Python imports this by itself when the folder is in PYTHONPATH.  LESS_DURABLE says how: ``normal`` lets SQLite sync at
checkpoints only, ``folder`` leaves out the sync of a folder after a body's file was made in it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from gatepost.spool import files, schema

HOW = os.environ.get("LESS_DURABLE", "")
connect_writer = schema.connect_writer
sync_folder = files.Files.sync_folder


def connect_less_durably(folder: Path) -> sqlite3.Connection:
    connection = connect_writer(folder)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def sync_all_but_bodies(self: files.Files, path: Path) -> None:
    if path.name != schema.BODY_FOLDER:
        sync_folder(self, path)


if HOW == "normal":
    schema.connect_writer = connect_less_durably
elif HOW == "folder":
    files.Files.sync_folder = sync_all_but_bodies  # type: ignore[method-assign]
