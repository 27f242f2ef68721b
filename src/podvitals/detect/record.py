"""Writes a recording, from whatever thread it is told, by one thread of its own, so that nobody waits for the disk."""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from podvitals.detect.recording import Record, Writing
from podvitals.errors import LocalError


class Recorder:
    """A context manager; inside, it is called with each record. Raises LocalError where the file cannot be written: at once, or at the end
    for a disk that filled up."""

    def __init__(self, path: Path, version: str, clean: Callable[[str], str] | None = None) -> None:
        self._path, self._writing, self._clean = path, Writing(version), clean or (lambda line: line)
        self._records: SimpleQueue[Record | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        self._failed = ""

    def __call__(self, record: Record) -> None:
        self._records.put(record)

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise LocalError(f"cannot write recording {self._path}: {error.strerror}") from None
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._records.put(None)
        self._thread.join()
        if self._failed and error is None:
            raise LocalError(f"recording {self._path} is not whole: {self._failed}")

    def _work(self) -> None:
        try:
            with self._file as file:
                file.write(self._writing.head + "\n")
                while (record := self._records.get()) is not None:
                    file.write(self._clean(self._writing.line(record)) + "\n")
                    if self._records.empty():
                        file.flush()
        except OSError as error:
            self._failed = error.strerror or str(error)
