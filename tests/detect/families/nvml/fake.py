"""NVML without a GPU: a C library (fake_nvml.c), built when it is needed, that the real nvidia-ml-py loads, and the script it follows.

A script is lines of `word value`: `driver`, `gpus`, per GPU `0.pci`, `0.name`, `0.lost`, ..., `0.fail.FUNCTION code`,
`0.hang.FUNCTION 1`, for all GPUs `fail.FUNCTION code` and `hang FUNCTION -`, and events `event.0 gpu type xid gi ci` (hexadecimal but for
the Xid)."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from tests.roots import requires

SOURCE = Path(__file__).with_name("fake_nvml.c")
requires_cc = requires("a C compiler (cc)", shutil.which("cc") is not None)
XID, RECOVERY = "8", "8000"
WHOLE = "ffffffff"


def library(directory: Path) -> ctypes.CDLL:
    """Builds the library, and loads it under NVML's own name: who asks the loader for libnvidia-ml.so.1 after that gets this one."""
    built = directory / "libnvidia-ml.so.1"
    command = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wl,-soname,libnvidia-ml.so.1",
        "-o",
        str(built),
        str(SOURCE),
    ]
    subprocess.run(command, check=True, timeout=60)
    return ctypes.CDLL(str(built), mode=os.RTLD_NOW | os.RTLD_GLOBAL)


class Script:
    def __init__(self, path: Path, fake: ctypes.CDLL) -> None:
        self._path = path
        self._lines: dict[str, str] = {}
        self._events = 0
        fake.fake_script(os.fsencode(path))

    def say(self, **words: object) -> None:
        """Words that hold for all: driver="580.65.06", gpus=2."""
        self._lines |= {word: str(value) for word, value in words.items()}
        self._write()

    def gpu(self, number: int, words: "dict[str, object]") -> None:
        for word, value in words.items():
            if value is None:
                self._lines.pop(f"{number}.{word}", None)
            else:
                self._lines[f"{number}.{word}"] = str(value)
        self._write()

    def fail(self, function: str, code: int | None) -> None:
        self._set(f"fail.{function}", None if code is None else str(code))

    def hang(self, function: str, *, on: bool) -> None:
        self._set(f"hang {function}", "-" if on else None)

    def event(self, gpu: int, *, xid: int, kind: str = XID, gi: str = WHOLE, ci: str = WHOLE) -> None:
        self._set(f"event.{self._events}", f"{gpu} {kind} {xid} {gi} {ci}")
        self._events += 1

    def _set(self, word: str, value: str | None) -> None:
        if value is None:
            self._lines.pop(word, None)
        else:
            self._lines[word] = value
        self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        part.write_text("".join(f"{word} {value}\n" for word, value in self._lines.items()))
        part.replace(self._path)


def h100(number: int, bus: str) -> dict[str, object]:
    """A good H100."""
    return {
        "pci": f"00000000:{bus.upper()}:00.0",
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-0000000{number}-aaaa-bbbb-cccc-0123456789ab",
        "serial": f"165102300000{number}",
        "memory": 85520809984,
        "compute": "9 0",
        "recovery_action": 0,
        "ecc_uncorrected": 0,
        "ecc_corrected": 0,
        "ecc_uncorrected_total": 0,
        "remapped": "0 0 0 0",
        "retired_pending": None,
        "reasons": "0x1",
        "replay": 0,
        "width": 16,
        "max_width": 16,
        "mig_mode": 0,
        "fabric": "3 0 0xaa",
        **{f"link.{link}": 1 for link in range(4)},
        **{f"field.{field}.{link}": 0 for link in range(4) for field in (161, 162, 163)},
    }
