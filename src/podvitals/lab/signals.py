"""Ctrl-C, SIGTERM and SIGHUP outside the event loop: put off while something half made would be left, ignored while everything is put
away."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interrupting() -> Iterator[None]:
    """Each of them is a KeyboardInterrupt."""
    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def put_off() -> Iterator[None]:
    """What comes meanwhile is a KeyboardInterrupt at the end."""
    noted: list[int] = []
    before = {number: signal.signal(number, lambda got, _: noted.append(got)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt


@contextmanager
def ignored() -> Iterator[None]:
    """However often Ctrl-C is pressed meanwhile; for clean-up, which takes a few seconds at most."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
