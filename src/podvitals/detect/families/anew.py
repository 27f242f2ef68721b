"""Which directories of sysfs are others than when they were last seen: of a device taken away and found again, of a driver bound anew."""

from collections.abc import Mapping
from pathlib import Path


class Anew:
    """Known by their inodes, which sysfs does not use twice in a boot; by remember() and recall() over a restart of ours, too."""

    def __init__(self) -> None:
        self._inodes: dict[str, int] = {}

    def is_so(self, key: str, directory: Path) -> bool:
        """Whether `directory` is another one than the last time. Raises OSError where there is none now; the last one is kept then."""
        before, now = self._inodes.get(key), directory.stat().st_ino
        self._inodes[key] = now
        return before not in (None, now)

    def remember(self) -> Mapping[str, str]:
        return {key: str(inode) for key, inode in self._inodes.items()}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        if same_boot:
            self._inodes = {key: int(inode) for key, inode in memory.items() if inode.isdecimal()}
