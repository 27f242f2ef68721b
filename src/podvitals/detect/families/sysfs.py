"""Reading the small files of sysfs, bounded; and what becomes of a read that fails (an Unread signal, never a fault)."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from podvitals.detect.signal import Signal, Unread
from podvitals.device.text import clean

LARGEST = 65536
"""Bytes; an attribute of sysfs is a page, and what claims to be one and is longer is cut."""
MOST_ENTRIES = 4096
"""Entries of one directory that are looked at."""
LONGEST_WHY = 256


def text(path: Path, limit: int = LARGEST) -> str:
    """What the file says, without the newline. Raises OSError."""
    return raw(path, limit).decode(errors="replace").strip()


def raw(path: Path, limit: int = LARGEST) -> bytes:
    # Without buffering and in one read: sysfs answers as a whole, and some attributes are recomputed for each.
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(opened, limit)
    finally:
        os.close(opened)


def number(path: Path) -> int:
    """A decimal, or 0x-prefixed, number. Raises OSError, or ValueError that quotes what stands there."""
    return to_number(text(path, 128))


def word(path: Path) -> str:
    """A state in the kernel's words. Raises OSError, or ValueError where nothing stands there: that is a failed read, not a state."""
    if not (said := text(path, 128)):
        raise ValueError("it is empty")
    return said


def to_number(said: str) -> int:
    try:
        return int(said, 0) if said[:2].lower() == "0x" else int(said)
    except ValueError:
        raise ValueError(f"it says {said[:40]!r}, which is no number") from None


def optional(path: Path, limit: int = LARGEST) -> str:
    """What the file says, or '' where it cannot be read: for what is told about a device, not for its health."""
    try:
        return text(path, limit)
    except OSError:
        return ""


def link_name(path: Path) -> str:
    """The last part of where a symbolic link points to, or '' where there is none. Raises OSError for other failures."""
    try:
        return os.path.basename(os.readlink(path))
    except FileNotFoundError:
        return ""


def entries(directory: Path) -> list[str]:
    """The names in a directory, sorted. Raises OSError."""
    return sorted(os.listdir(directory))[:MOST_ENTRIES]


def entries_if_any(directory: Path) -> list[str]:
    """The names in a directory; none where it does not exist. Raises OSError for other failures."""
    try:
        return entries(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def tried(name: str, job: Callable[[], Iterable[Signal]]) -> Iterator[Signal]:
    """The signals of `job`; where it fails, an Unread signal under `name` in place of the rest. A file that does not exist is a thing
    the device has not got: no signal."""
    try:
        yield from job()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        yield Unread(name, why(error))


def why(error: BaseException) -> str:
    """A failure in words, bounded."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        hint = ": run as root" if isinstance(error, PermissionError) and os.geteuid() else ""
        return clean(f"{where}{error.strerror}{hint}", LONGEST_WHY)
    return clean(str(error) or type(error).__name__, LONGEST_WHY)
