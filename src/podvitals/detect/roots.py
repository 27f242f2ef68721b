"""Where the machine's files are: in a container the host's /sys, /dev and /proc may be mounted elsewhere; tests have trees of their own."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Roots:
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")

    @classmethod
    def under(cls, root: Path) -> "Roots":
        """The three directories of a tree that was recorded, or of a host mounted at `root`."""
        return cls(root / "sys", root / "dev", root / "proc")
