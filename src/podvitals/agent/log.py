"""What a process says on stderr: one line a thing that changed, `key=value`, or JSON by flag, never the same line twice a minute.

A full pipe must not stop the event loop: lines are written by a thread of their own.
"""

import atexit
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

Format = Literal["text", "json"]
PERIOD = 60.0
"""Seconds within which the same line is not repeated; the next one says how often it was held back."""
_MOST_REMEMBERED = 1024
_MOST_WAITING = 10_000
# What every LogRecord has: all else was given with `extra` and is a field of the line.
_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName", "held_back"}


def fields(record: logging.LogRecord) -> dict[str, object]:
    """The line as a mapping: time, level, message, then what was given with `extra`."""
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: dict[str, object] = {"time": when, "level": record.levelname.lower(), "msg": record.getMessage()}
    line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD and value not in (None, ""))
    if held_back := getattr(record, "held_back", 0):
        line["held_back"] = held_back
    if record.exc_info and record.exc_info[1] is not None:
        line["error"] = logging.Formatter().formatException(record.exc_info)
    return line


class KeyValue(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields(record).items())


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _json(fields(record))


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and not any(character in ' "=\n\\' for character in text) and text.isprintable()
    return text if plain else _json(text)


def _json(value: object) -> str:
    """As it is read best, but with escapes where a terminal would obey what is in it: line feeds, colours, right-to-left marks."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value, default=str)


class Seldom(logging.Filter):
    """Lets a line through that was not said within the last minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic, period: float = PERIOD) -> None:
        super().__init__()
        self._now, self._period = now, period
        self._said: dict[int, list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        extra = tuple((name, str(value)) for name, value in vars(record).items() if name not in _STANDARD)
        # Its hash alone: the lines themselves would be a megabyte. Two lines with one hash cost a line in 2^64.
        line = hash((record.name, record.levelno, record.getMessage(), extra))
        now = self._now()
        said = self._said.get(line)
        if said is not None and now - said[0] < self._period:
            said[1] += 1
            return False
        self._said.pop(line, None)
        if len(self._said) >= _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[line] = [now, 0]
        record.held_back = int(said[1]) if said is not None else 0
        return True


class Aside(logging.Handler):
    """Hands lines to a thread that writes them; where it cannot keep up, lines are lost and never waited for."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(_MOST_WAITING)
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self._waiting.put_nowait(record)

    def close(self) -> None:
        """Writes what waits, for a second at most."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=1.0)
            self._writer.join(1.0)
        super().close()

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            with suppress(OSError, ValueError):
                self._out.write(self.format(record) + "\n")
                self._out.flush()


def start(form: Format = "text", level: str = "info") -> None:
    """Sends the log of this process to stderr from now on."""
    handler = Aside(sys.stderr)
    handler.setFormatter(Json() if form == "json" else KeyValue())
    handler.addFilter(Seldom())
    atexit.register(handler.close)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries below: what they have to say of connections we say ourselves, with the driver's or the pod's name.
    for noisy in ("asyncio", "aiohttp", "grpclib", "hpack", "h2"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
