"""Where the machine's files are: in a container the host's /sys, /dev and /proc may be mounted elsewhere; tests have trees of their own."""

from dataclasses import dataclass
from pathlib import Path

LONGEST_VALUE = 65536
"""Bytes of a sysfs file that are read: one page is usual, AER counters and resource lists fit many times."""


@dataclass(frozen=True, slots=True)
class Roots:
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")

    @classmethod
    def under(cls, root: Path) -> "Roots":
        """The three directories of a tree that was recorded, or of a host mounted at `root`."""
        return cls(root / "sys", root / "dev", root / "proc")


def text_of(path: Path) -> str:
    """The value in a file of sysfs or procfs, without the newline. Raises OSError as it comes: the caller knows what "no such file" means
    there, and that any other error is "cannot tell"."""
    with path.open(errors="replace") as file:
        return file.read(LONGEST_VALUE).strip()


def text_or(path: Path, default: str = "") -> str:
    """The same, `default` where the file does not exist, or the kernel has no such value (ENODEV, EINVAL, ... are not hidden)."""
    try:
        return text_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return default


def number_of(path: Path) -> int:
    """The whole number in a file, decimal or 0x... Raises OSError, or ValueError that names the file."""
    text = text_of(path)
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{path} says {text[:40]!r}, which is no number") from None
