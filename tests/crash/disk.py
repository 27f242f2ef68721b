"""The disk under the agent's state: a tmpfs of its own, or, where none can be mounted, a limit on the size of files."""

import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path
from random import Random

SIZE = "2m"
FILES = ("node.sqlite", "node.sqlite-wal", "agent.sqlite", "agent.sqlite-wal")


class Disk:
    """`mount` it first, `unmount` it in the end. `real`: it is a file system of its own, so it can be full or read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.real = False

    def mount(self) -> None:
        self.path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "podvitals-crash", self.path], capture_output=True)
        self.real = done.returncode == 0

    def unmount(self) -> None:
        if self.real:
            subprocess.run(["umount", "--lazy", self.path], check=False)
            self.real = False

    def fill(self, pids: list[int]) -> None:
        """Nothing more can be written, by these processes at least."""
        if not self.real:
            for pid in pids:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with suppress(OSError), open(self.path / "filler", "wb", buffering=0) as filler:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while True:
                        filler.write(b"\0" * size)

    def free(self, pids: list[int]) -> None:
        (self.path / "filler").unlink(missing_ok=True)
        if not self.real:
            for pid in pids:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def remount(self, how: str) -> bool:
        """`ro` or `rw`; False where somebody has a file open for writing, or the disk is not our own."""
        return self.real and subprocess.run(["mount", "-o", f"remount,{how}", self.path], capture_output=True).returncode == 0

    def damage(self, state: Path, random: Random) -> str:
        """One file of the agent is cut off, has a bit flipped, or is gone; what was done."""
        present = [state / name for name in FILES if (state / name).exists() and (state / name).stat().st_size]
        if not present:
            return "there was nothing to damage"
        path = random.choice(present)
        size = path.stat().st_size
        place = random.randrange(size)
        match random.choice(("cut", "flip", "flip", "remove")):
            case "cut":
                os.truncate(path, place)
                return f"{path.name} cut at byte {place} of {size}"
            case "flip":
                with open(path, "r+b") as file:
                    file.seek(place)
                    byte = file.read(1)[0]
                    file.seek(place)
                    file.write(bytes([byte ^ (1 << random.randrange(8))]))
                return f"{path.name}: a bit of byte {place} of {size} flipped"
        path.unlink()
        return f"{path.name} removed"
