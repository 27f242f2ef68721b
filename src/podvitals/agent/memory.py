"""The book's memory on disk, so that a pod that ended is remembered by the next process: SQLite, a row a pod, each with a sum of its own.

The crash safety is SQLite's; that a row says what was written is the sum's, since SQLite takes a flipped bit for data, and a device's name
that is another must never come out of here. A damaged file is set aside and costs only what it held; a disk that takes nothing more is
said and costs the memory of a restart, not the work of the agent. Every method blocks: call it in a thread.
"""

import logging
import sqlite3
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from podvitals.pod.book import Memo

log = logging.getLogger(__name__)

FORMAT = 2
"""PRAGMA user_version. A file of a later version is set aside, as a damaged one is; one of version 1, which had no sums, is given them."""


class Memory:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: sqlite3.Connection | None = None
        self._one_at_a_time = threading.Lock()
        self._trouble = False
        self.anew = False
        """Whether the file was begun anew while in use: whatever is to be remembered must be written again."""

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
            return self._set_aside(error)

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
                        text = msgspec.json.encode(memo)
                        self._rows.execute("INSERT OR REPLACE INTO pods VALUES (?, ?, ?)", (uid, text, _sum(uid, text)))
        except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
            self._fail(error)
            return False
        if self._trouble:
            self._trouble = False
            log.info("memory of pods written again", extra={"file": str(self._path)})
        return True

    def _fail(self, error: Exception) -> None:
        # A connection that was opened while the disk could only be read stays so: each try begins with a new one.
        self._close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._set_aside(error)
            self.anew = True
        else:
            self._say(error)

    def _close(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()

    def _open(self) -> list[Memo]:
        self._rows = rows = sqlite3.connect(self._path, check_same_thread=False, timeout=1.0)
        self._path.chmod(0o600)
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("PRAGMA synchronous=NORMAL")
        rows.execute("PRAGMA cache_size=-256")  # kB; it is read once and then only written
        (version,) = rows.execute("PRAGMA user_version").fetchone()
        if version not in (0, 1, FORMAT):
            raise sqlite3.DatabaseError(f"its format is {version}, this version of podvitals writes {FORMAT}")
        with rows:
            if version == 1:
                _give_sums(rows)
            rows.execute("CREATE TABLE IF NOT EXISTS pods (uid TEXT PRIMARY KEY, memo BLOB NOT NULL, sum BLOB) WITHOUT ROWID")
            rows.execute(f"PRAGMA user_version={FORMAT}")
        found = rows.execute("SELECT uid, memo, sum FROM pods").fetchall()
        sound = [memo for uid, memo, told in found if told == _sum(uid, memo)]
        if len(sound) < len(found):
            log.error("memory of some pods damaged", extra={"file": str(self._path), "pods": len(found) - len(sound)})
        return [msgspec.json.decode(memo, type=Memo) for memo in sound]

    def _set_aside(self, why: Exception) -> list[Memo]:
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
        self._trouble = True
        log.error("memory of pods not written", extra={"file": str(self._path), "reason": str(error)})


def _give_sums(rows: sqlite3.Connection) -> None:
    rows.execute("ALTER TABLE pods ADD COLUMN sum BLOB")
    for uid, memo in rows.execute("SELECT uid, memo FROM pods").fetchall():
        rows.execute("UPDATE pods SET sum = ? WHERE uid = ?", (_sum(uid, memo), uid))


def _sum(uid: str, memo: bytes) -> bytes:
    return blake2b(memo, digest_size=16, key=blake2b(str(uid).encode(errors="replace")).digest()).digest()
