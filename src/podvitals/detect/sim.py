"""Family `sim`: devices that are files, for trying things out. `sim:DIR[,model=NAME][,memory=QUANTITY]`.

One file a device in DIR, its name the device's. Its first line is `Healthy`, `Unhealthy: what is wrong` or `Unknown: why`; a line
`action=power-cycle` may follow. `podvitals inject` writes it atomically; so do `echo` and an editor, well enough. Changes are pushed by
inotify.
"""

import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from podvitals.detect.detector import Attribute, Detector, Device, Reading
from podvitals.detect.inotify import WRITTEN, directories
from podvitals.detect.spec import Spec
from podvitals.detect.worker import Worker
from podvitals.device.health import Health
from podvitals.errors import InvalidInput, LocalError

LONGEST_FILE = 16384


def parse_state(text: str) -> Reading:
    """What a device file says. Raises InvalidInput where it cannot be understood."""
    first, *more = text.strip().splitlines() or [""]
    word, _, message = first.partition(":")
    by_name = {health.value.lower(): health for health in Health}
    if word.strip().lower() not in by_name:
        raise InvalidInput(f"{first[:60]!r} is not a health: write Healthy, Unhealthy: text or Unknown: text")
    action = ""
    for line in filter(None, map(str.strip, more)):
        name, equals, value = line.partition("=")
        if (name, equals) != ("action", "="):
            raise InvalidInput(f"line {line[:60]!r} is not action=...")
        action = value
    return Reading(by_name[word.strip().lower()], message.strip(), action)


def format_state(reading: Reading) -> str:
    """The text that `parse_state` reads back as `reading`."""
    message = f": {reading.message}" if reading.message else ""
    action = f"action={reading.action}\n" if reading.action else ""
    return f"{reading.health}{message}\n{action}"


def write_state(path: Path, reading: Reading) -> None:
    """Makes the device file say so, at once and as a whole: its reader sees the old state or the new one. Blocks."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_text(format_state(reading))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LocalError(f"cannot write {path}: {error.strerror}") from None


def is_device(name: str) -> bool:
    """Hidden files and those an editor or a copy is about to rename are none."""
    return not (name.startswith(".") or name.endswith(("~", ".tmp")))


class Sim(Detector):
    interval, timeout = 5.0, 2.0

    def __init__(self, directory: Path, model: str = "sim", memory: str = "") -> None:
        self.directory = directory
        self._model, self._memory = model, memory

    def __str__(self) -> str:
        return f"sim:{self.directory}"

    def devices(self) -> Iterable[Device]:
        for path in self._files():
            attributes: dict[str, Attribute] = {"model": self._model}
            if (number := re.search(r"[0-9]{1,9}$", path.name)) is not None:
                attributes["index"] = int(number[0])
            capacity: Mapping[str, str] = {"memory": self._memory} if self._memory else {}
            yield Device(path.name, attributes, capacity, handle=str(path))

    def check(self, device: Device) -> Reading:
        return self._read(self.directory / device.name)

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        with directories() as watch, Worker(f"{self} watch") as worker:
            paths: Iterable[Path] | None = None
            while watch.add(self.directory, WRITTEN):
                # First, and whenever changes were lost: all. After the subscription, so that nothing falls between.
                for path in sorted(await worker.call(lambda: list(self._files())) if paths is None else paths):
                    if is_device(path.name):
                        yield path.name, await worker.call(partial(self._read, path))
                paths = await watch.changes()
            raise FileNotFoundError(f"{self.directory} cannot be watched")

    def _files(self) -> Iterator[Path]:
        try:
            yield from sorted(path for path in self.directory.iterdir() if is_device(path.name))
        except (FileNotFoundError, NotADirectoryError):
            raise InvalidInput(f"{self.directory} is not a directory: make it, with one file a device that says Healthy") from None

    def _read(self, path: Path) -> Reading:
        try:
            with path.open(errors="replace") as file:
                return parse_state(file.read(LONGEST_FILE))
        except FileNotFoundError:
            return Reading.unhealthy(f"{path} is gone")
        except (OSError, InvalidInput) as error:
            return Reading.unknown(f"{path}: {error.strerror if isinstance(error, OSError) else error}")


def from_spec(spec: Spec) -> Detector:
    spec.only("model", "memory")
    if len(spec.what) != 1:
        raise spec.wrong("sim takes one directory, such as sim:/run/sim")
    return Sim(Path(spec.what[0]).absolute(), **spec_options(spec))


def spec_options(spec: Spec) -> dict[str, str]:
    return {name: value for name, value in spec.options.items() if name in ("model", "memory")}
