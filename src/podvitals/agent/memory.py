"""The book's memory on disk, so that a pod that ended is remembered by the next process: SQLite, a row a pod.

The crash safety is SQLite's. A damaged file is set aside and costs only what it held; a disk that takes nothing more is said and costs the
memory of a restart, not the work of the agent. Every method blocks: call it in a thread.
"""

import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from podvitals.pod.book import Memo

log = logging.getLogger(__name__)

FORMAT = 1
"""PRAGMA user_version. A file of a later version is set aside, as a damaged one is."""


class Memory:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: sqlite3.Connection | None = None
        self._one_at_a_time = threading.Lock()

    def load(self) -> list[Memo]:
        """Opens the file, a new one where it must, and tells what it holds."""
        with self._one_at_a_time:
            return self._load()

    def save(self, changes: Mapping[str, Memo | None]) -> bool:
        """Writes what changed; False where that was not possible."""
        with self._one_at_a_time:
            return self._save(changes)

    def close(self) -> None:
        with self._one_at_a_time:
            self._close()

    def _load(self) -> list[Memo]:
        try:
            return self._open()
        except (sqlite3.DatabaseError, msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            self._close()
            if isinstance(error, sqlite3.OperationalError | OSError):
                self._say(error)
                return []
            return self._anew(error)

    def _save(self, changes: Mapping[str, Memo | None]) -> bool:
        if not changes:
            return True
        try:
            if self._rows is None:
                self._open()
            assert self._rows is not None
            with self._rows:
                for uid, memo in changes.items():
                    if memo is None:
                        self._rows.execute("DELETE FROM pods WHERE uid = ?", (uid,))
                    else:
                        self._rows.execute("INSERT OR REPLACE INTO pods VALUES (?, ?)", (uid, msgspec.json.encode(memo)))
        except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
            self._say(error)
            return False
        return True

    def _close(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()

    def _open(self) -> list[Memo]:
        self._rows = rows = sqlite3.connect(self._path, check_same_thread=False, timeout=1.0)
        self._path.chmod(0o600)
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("PRAGMA synchronous=NORMAL")
        (version,) = rows.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"its format is {version}, this version of podvitals writes {FORMAT}")
        with rows:
            rows.execute("CREATE TABLE IF NOT EXISTS pods (uid TEXT PRIMARY KEY, memo BLOB NOT NULL) WITHOUT ROWID")
            rows.execute(f"PRAGMA user_version={FORMAT}")
        return [msgspec.json.decode(memo, type=Memo) for (memo,) in rows.execute("SELECT memo FROM pods")]

    def _anew(self, why: Exception) -> list[Memo]:
        aside = self._path.with_suffix(".damaged")
        log.error("memory of pods set aside", extra={"file": str(self._path), "aside": str(aside), "reason": str(why)})
        try:
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self._close()
            self._say(error)
            return []

    def _say(self, error: Exception) -> None:
        log.error("memory of pods not written", extra={"file": str(self._path), "reason": str(error)})
