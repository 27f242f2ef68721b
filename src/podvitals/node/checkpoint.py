"""What survives a restart: the ledger's rows in SQLite, written by one worker thread.

* A state that comes back is as good as its remaining lease, never better. Within a boot CLOCK_BOOTTIME counts, across boots the wall
  clock; where neither can tell (another boot, and a wall clock set back), the lease has ended.
* A damaged file is set aside as `<name>.damaged`, said, and costs only what it held. Damage is found by a sum over all rows that is
  written with every change, so that a row that was lost, altered or brought back by a flipped bit is noticed too. What SQLite itself
  cannot see would be a lost tail of the write-ahead log: so the log is emptied after each change of a verdict.
* A file that cannot be kept current is removed, and where that cannot be either, marked as behind: it would make a later restart believe
  an old verdict. The next one begins with everything. For the same reason one on a read-only disk is not believed.
* It has one owner (lock.py): whoever else comes works without, and says whose it is. A file that SQLite calls busy is nobody's to remove.
* Another format is migrated where MIGRATIONS knows how, else set aside with its number.
* A full or read-only disk stops nothing; it is said once a minute by whoever calls.
"""

import asyncio
import hashlib
import logging
import math
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from podvitals.device.key import DeviceKey
from podvitals.errors import LocalError
from podvitals.node.lock import BEHIND, CURRENT, NEW, Held, Lock
from podvitals.node.record import SourceKey
from podvitals.node.rows import DeviceRow, FactKey, FactRow, Rows

SCHEMA = 1
"""PRAGMA user_version."""
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From each older format to the next, within one transaction. Format 1 is the first there is."""
PATIENCE = 2.0
"""Seconds a start waits for the process that has the file to end: an agent that is replaced ends within that."""
_META, _FACT, _DEVICE, _HEARD = 0, 1, 2, 3
_DIGEST = "digest"
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CREATE = "CREATE TABLE IF NOT EXISTS entry (kind INTEGER, key TEXT, value BLOB, sum BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
_Row = tuple[int, str, bytes | None]

log = logging.getLogger(__name__)

_fact_rows = msgspec.json.Decoder(FactRow)
_device_rows = msgspec.json.Decoder(DeviceRow)
_heard_rows = msgspec.json.Decoder(tuple[str, float, float])
_fact_keys = msgspec.json.Decoder(tuple[str, str, str, str])
_device_keys = msgspec.json.Decoder(DeviceKey)


class Damaged(Exception):
    """The file is no checkpoint of ours, or not what was written."""


class OtherFormat(Damaged):
    def __init__(self, version: int) -> None:
        newer = "a newer podvitals wrote it" if version > SCHEMA else "nothing reads it any more"
        super().__init__(f"its format is {version}, this podvitals reads {SCHEMA}: {newer}")
        self.version = version


class Checkpoint:
    """`boot`: this boot's id (clock.boot_id). All methods but the constructor run in the one worker thread."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._lock = Lock(path.with_name(path.name + ".lock"))
        self._word = ""
        self._db: sqlite3.Connection | None = None
        self._digest = 0
        self._begun = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    @property
    def begun(self) -> bool:
        """Whether the file holds what was saved before. If not, the next `save` has to bring everything."""
        return self._begun

    async def load(self, now: float, wall: float) -> Rows:
        """What the last process knew; nothing where there is no file, or a damaged one. `heard` is in this boot's time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load, now, wall)

    async def save(self, rows: Rows, now: float, wall: float, *, whole: bool = False) -> None:
        """Writes the difference, or with `whole` just these rows. Raises LocalError where the disk does not let it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._save, rows, now, wall, whole)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # --- in the thread -----------------------------------------------------------------------------------------------------------

    def _load(self, now: float, wall: float) -> Rows:
        try:
            self._word = self._lock.take(PATIENCE)
        except Held as held:
            log.warning("checkpoint %s belongs to %s: beginning without it; does a second agent run here?", self._path, held)
            return Rows()
        except OSError as error:
            log.warning("checkpoint %s cannot be used: %s: beginning without it", self._path, error.strerror)
            return Rows()
        if not os.path.lexists(self._path):
            return Rows()
        try:
            rows = self._read(now, wall)
        except (Damaged, sqlite3.Error, msgspec.MsgspecError, UnicodeError, OSError) as error:
            self._close_file()
            if _busy(error):
                log.warning("checkpoint %s is in use by another process: beginning without it", self._path)
            else:
                self._set_aside(error)
            return Rows()
        return rows

    def _read(self, now: float, wall: float) -> Rows:
        if not stat.S_ISREG(os.lstat(self._path).st_mode):
            raise Damaged("it is not a file")
        db = self._open()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if not version and not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            if self._word in ("", NEW):
                return Rows()  # a process that began it ended before it saved anything
            raise Damaged("it is empty")
        if version not in (SCHEMA, *MIGRATIONS):
            raise OtherFormat(version)
        if self._word not in ("", NEW, CURRENT):
            raise Damaged("the last change could not be written to it")
        if version != SCHEMA:
            with db:
                db.execute("BEGIN IMMEDIATE")
                _migrate(db, version)
        rows = self._rows(db, now, wall)
        self._begun = True
        return rows

    def _rows(self, db: sqlite3.Connection, now: float, wall: float) -> Rows:
        rows, total, said = Rows(), 0, b""
        with closing(db.execute("SELECT kind, key, value, sum FROM entry")) as cursor:
            for kind, key, value, checksum in cursor:
                if kind == _META:
                    said = value
                    continue
                if not (isinstance(kind, int) and isinstance(key, str) and isinstance(value, bytes)):
                    raise Damaged("a row is not of the kind that was written")
                found = _sum(kind, key, value)
                if found != checksum:
                    raise Damaged(f"the row of {key} is not what was written")
                total ^= int.from_bytes(found)
                self._take(rows, kind, key, value, now, wall)
        if said != total.to_bytes(8):
            raise Damaged("rows are missing or too many")
        self._digest = total
        return rows

    def _take(self, rows: Rows, kind: int, key: str, value: bytes, now: float, wall: float) -> None:
        if kind == _FACT:
            driver, source, pool, device = _fact_keys.decode(key)
            rows.facts[FactKey(SourceKey(driver, source), pool, device)] = _fact_rows.decode(value)
        elif kind == _DEVICE:
            rows.devices[_device_keys.decode(key)] = _device_rows.decode(value)
        else:
            rows.heard[int(key)] = self._in_this_boot(*_heard_rows.decode(value), now, wall)

    def _in_this_boot(self, boot: str, heard: float, heard_wall: float, now: float, wall: float) -> float:
        if boot == self._boot:
            return heard
        passed = wall - heard_wall
        # At least as long as this boot lasts; a wall clock that was set back tells nothing.
        return now - max(passed, now) if passed >= 0 else -math.inf

    def _save(self, rows: Rows, now: float, wall: float, whole: bool) -> None:
        try:
            self._word = self._word if self._lock.held else self._lock.take(0)
            if self._word == "":
                self._mark(NEW)
            self._write(rows, now, wall, whole or not self._begun)
            if self._word != CURRENT:
                self._mark(CURRENT)
        except Held as held:
            raise LocalError(f"checkpoint {self._path} belongs to {held}: a restart now would begin with Unknown") from None
        except (sqlite3.Error, OSError) as error:
            self._close_file()
            if rows.facts or rows.devices or not self._begun:
                self._begun = False
                self._disown(error)
            raise LocalError(f"checkpoint {self._path} cannot be written: {error}; a restart now would begin with Unknown") from None

    def _disown(self, error: Exception) -> None:
        """It does not hold the last change: nobody may believe it."""
        with suppress(OSError):
            if self._lock.held and self._word == CURRENT:
                self._lock.disown()
                self._word = BEHIND
        if self._lock.held and not _busy(error):
            self._remove()

    def _mark(self, word: str) -> None:
        self._lock.mark(word)
        self._word = word

    def _write(self, rows: Rows, now: float, wall: float, whole: bool) -> None:
        db = self._db or self._open()
        digest = 0 if whole else self._digest
        with db:
            db.execute("BEGIN IMMEDIATE")
            # With the first rows, so that a file holds all of it or nothing.
            db.execute(_CREATE)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            if whole:
                db.execute("DELETE FROM entry")
            for kind, key, value in self._encoded(rows, now, wall):
                old = None if whole else db.execute("SELECT sum FROM entry WHERE kind = ? AND key = ?", (kind, key)).fetchone()
                digest ^= int.from_bytes(old[0]) if old else 0
                if value is None:
                    db.execute("DELETE FROM entry WHERE kind = ? AND key = ?", (kind, key))
                else:
                    checksum = _sum(kind, key, value)
                    digest ^= int.from_bytes(checksum)
                    db.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", (kind, key, value, checksum))
            db.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", (_META, _DIGEST, digest.to_bytes(8), b""))
        self._digest, self._begun = digest, True
        if rows.facts or rows.devices:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _encoded(self, rows: Rows, now: float, wall: float) -> Iterator[_Row]:
        for fact, fact_row in rows.facts.items():
            yield _FACT, _text([*fact.source, fact.pool, fact.device]), None if fact_row is None else msgspec.json.encode(fact_row)
        for device, device_row in rows.devices.items():
            yield _DEVICE, _text(device), None if device_row is None else msgspec.json.encode(device_row)
        for batch, heard in rows.heard.items():
            value = None if heard is None else msgspec.json.encode((self._boot, heard, wall - (now - heard)))
            yield _HEARD, str(batch), value

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = self._db = sqlite3.connect(self._path, isolation_level=None, timeout=0.2)
        # One process, one connection: needs no shared memory, and a second agent is told so.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -512")
        return db

    def _close(self) -> None:
        self._close_file()
        self._lock.release()

    def _close_file(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _set_aside(self, error: Exception) -> None:
        tail = f".format-{error.version}" if isinstance(error, OtherFormat) else ".damaged"
        aside, why = self._path.with_name(self._path.name + tail), error.strerror if isinstance(error, OSError) else error
        try:
            os.replace(self._path, aside)
        except OSError as failure:
            log.warning("checkpoint %s cannot be used (%s) nor set aside (%s)", self._path, why, failure.strerror)
            return
        for tail in ("-wal", "-shm", "-journal"):
            with suppress(OSError):
                os.replace(f"{self._path}{tail}", f"{aside}{tail}")
        log.warning("checkpoint %s cannot be used (%s): it is set aside as %s, devices are Unknown until heard of", self._path, why, aside)
        with suppress(OSError):
            self._mark(NEW)

    def _remove(self) -> None:
        for tail in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                os.unlink(f"{self._path}{tail}")


def _migrate(db: sqlite3.Connection, version: int) -> None:
    for step in range(version, SCHEMA):
        MIGRATIONS[step](db)
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def _busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def _sum(kind: int, key: str, value: bytes) -> bytes:
    return hashlib.blake2b(b"%d\0%s\0%s" % (kind, key.encode(), value), digest_size=8).digest()


def _text(parts: Any) -> str:
    return msgspec.json.encode(parts).decode()
