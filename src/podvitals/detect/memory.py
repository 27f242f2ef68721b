"""What a family knows after a restart: one small JSON file, replaced as a whole.

The first line is a sum of the rest, so that damage is noticed; a damaged file is set aside as `<name>.damaged`, said, and costs only what
it held. A disk that takes nothing more is said once, and costs the memory of a restart. `later` writes in a thread of its own: a disk that
hangs must not keep hardware from being read.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger("podvitals.detect")

LARGEST = 16 << 20
"""Bytes of a file that is read: a larger one is none of ours."""


class Memory:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._complaint = ""
        self._wanted = threading.Condition()
        self._next: Mapping[str, Any] | None = None
        self._writing = False

    def load(self) -> Mapping[str, Any] | None:
        """What was saved last; None where nothing was, or nothing that can be used."""
        try:
            with self.path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror}")
            return None
        said, _, body = data.partition(b"\n")
        if len(data) > LARGEST or said != _sum(body):
            self.set_aside("it is not what was written")
            return None
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self.set_aside("it is no JSON object")
            return None
        return document

    def save(self, document: Mapping[str, Any]) -> bool:
        """Whether it could be written, safe against a loss of power."""
        body = json.dumps(document, separators=(",", ":")).encode()
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(_sum(body) + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            self._complain(f"cannot be written: {error.strerror}; a restart now would forget resets that are due")
            return False
        self._complaint = ""
        return True

    def later(self, document: Mapping[str, Any]) -> None:
        """Saves it soon, unless a newer one comes first. Does not block."""
        with self._wanted:
            self._next = document
            if not self._writing:
                self._writing = True
                threading.Thread(target=self._write, name=f"memory {self.path.name}", daemon=True).start()

    def flush(self, seconds: float = 5.0) -> bool:
        """Waits until everything given to `later` was tried to be written; whether that was in time."""
        with self._wanted:
            return self._wanted.wait_for(lambda: not self._writing, seconds)

    def _write(self) -> None:
        while True:
            with self._wanted:
                document, self._next = self._next, None
                if document is None:
                    self._writing = False
                    self._wanted.notify_all()
                    return
            self.save(document)

    def set_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            self._complain(f"cannot be used ({why}) nor set aside ({error.strerror})")
            return
        log.warning("memory set aside file=%s aside=%s reason=%r", self.path, aside, why)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            log.warning("memory %s %s", self.path, why)


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
