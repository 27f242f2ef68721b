"""Family `files`: device nodes, such as TPUs' `/dev/accel*`, and any other file whose presence is the device's.
`files:PATTERN[,PATTERN...]`.

A path without wildcards is expected to be there; one that matched a pattern is expected from then on. Presence is pushed by inotify on the
directory. Only "does not exist" means missing: any other error means that we cannot tell.
"""

import asyncio
import glob
import os
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from podvitals.detect.detector import Detector, Device, Reading
from podvitals.detect.inotify import PRESENCE, directories
from podvitals.detect.inventory import LONGEST_VALUE, device_name
from podvitals.detect.spec import Spec
from podvitals.detect.worker import Worker

_KINDS = {
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
}


def name_of(path: Path) -> str:
    """`/dev/accel0` is `accel0`; a bare number, as in `/dev/vfio/12`, takes its directory along: `vfio-12`."""
    return device_name(f"{path.parent.name}-{path.name}" if path.name.isdigit() else path.name)


class Files(Detector):
    interval, timeout = 5.0, 2.0

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        # What is expected, and as what kind: known once it was seen, and not changed by what takes its place.
        self._kinds: dict[Path, str] = {Path(pattern): "" for pattern in patterns if not glob.has_magic(pattern)}

    def __str__(self) -> str:
        return f"files:{','.join(self.patterns)}"

    def devices(self) -> Iterable[Device]:
        for path in sorted(self._all()):
            self._kinds.setdefault(path, "")
            self._look(path)
            kind = self._kinds[path]
            attributes = {"path": str(path)} if len(os.fsencode(path)) <= LONGEST_VALUE else {}
            if kind:
                attributes["kind"] = kind
            # A plain file is no device node: a container runtime would refuse to make one of it.
            yield Device(name_of(path), attributes, nodes=[path] if kind.endswith("device") else (), handle=str(path))

    def check(self, device: Device) -> Reading:
        return self._look(Path(device.handle))

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        changed: set[Path] | None = None
        with directories() as watch, Worker(f"{self} watch") as worker:
            while True:
                # A directory that does not exist yet cannot be watched: look again each interval; until then check() polls.
                for directory in {Path(pattern).parent for pattern in self.patterns} | {path.parent for path in self._expected()}:
                    if not glob.has_magic(str(directory)):
                        watch.add(directory, PRESENCE)
                # First, and whenever changes were lost: all. After the subscription, so that nothing falls between.
                for path in sorted(await worker.call(self._all) if changed is None else changed):
                    if path in self._kinds or any(fnmatchcase(str(path), pattern) for pattern in self.patterns):
                        yield name_of(path), await worker.call(partial(self._look, path))
                changed = set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.interval):
                        changed = await watch.changes()

    def _all(self) -> set[Path]:
        return {Path(found) for pattern in self.patterns for found in glob.glob(pattern)} | set(self._expected())

    def _expected(self) -> list[Path]:
        # A copy in one step: devices() adds to it in the worker thread while the loop goes through it.
        return list(self._kinds)

    def _look(self, path: Path) -> Reading:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return Reading.unhealthy(f"{path} is missing")
        except OSError as error:
            return Reading.unknown(f"cannot tell whether {path} is there: {error.strerror}")
        kind = _KINDS.get(stat.S_IFMT(mode), "other file")
        if not (expected := self._kinds.get(path)):
            if path in self._kinds:
                self._kinds[path] = kind
        elif kind != expected:
            return Reading.unhealthy(f"{path} is a {kind}; it was a {expected}")
        return Reading.healthy()


def from_spec(spec: Spec) -> Detector:
    spec.only()
    if not spec.what:
        raise spec.wrong("files takes paths or patterns, such as files:/dev/accel*")
    for pattern in spec.what:
        if not pattern.startswith("/"):
            raise spec.wrong(f"{pattern!r} is not an absolute path")
        if not name_of(Path(pattern.replace("*", "0").replace("?", "0"))):
            raise spec.wrong(f"{pattern!r} names no file")
    return Files(*spec.what)
