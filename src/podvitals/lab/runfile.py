"""What a lab has put on this machine, written down before it does so, so that the next start can clean up after a `kill -9`, and only that.

Every process of a lab, containers and what they start included, carries the run's random id in its environment: that is how leftovers are
found, and why no other process is ever killed, whatever its number."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from podvitals.lab.faults import Veth

MARK = "PODVITALS_LAB_RUN"
KILL_SECONDS = 3.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """`started`: clock ticks since boot (/proc/PID/stat, field 22), which tells a process from a later one with its number."""

    name: str
    pid: int
    started: int


class Run(msgspec.Struct, kw_only=True):
    id: str
    lab: Process
    children: list[Process] = []
    made_root: bool = False
    """Whether the lab made its directory, and so removes it."""
    veth: str | None = None
    """The near end's name; both ends carry the alias `alias(id)`."""

    @property
    def alias(self) -> str:
        return f"podvitals lab {self.id}"


def new_run() -> Run:
    return Run(id=secrets.token_hex(16), lab=process("lab", os.getpid()))


def process(name: str, pid: int) -> Process:
    return Process(name=name, pid=pid, started=_started(pid))


def read(path: Path) -> Run | None:
    """None where there is none, or none that can be read: then there is nothing to go by."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, run: Run) -> None:
    part = path.with_suffix(".tmp")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")
    os.replace(part, path)


def clean_up(run: Run) -> list[str]:
    """Ends what is left of a run and removes its interfaces; says what there was."""
    left = sweep(run.id)
    done = [f"{len(left)} process{'es' if len(left) != 1 else ''}"] if left else []
    if run.veth is not None:
        veth = Veth(run.veth, run.alias)
        veth.remove()
        done.append(f"interface {run.veth}")
    return done


def sweep(run_id: str) -> list[int]:
    """Kills every process that carries the run's mark, until none is left (one may be starting another); the pids."""
    killed: dict[int, None] = {}
    deadline = time.monotonic() + KILL_SECONDS
    while (found := list(marked(run_id))) and time.monotonic() < deadline:
        for pid in found:
            killed[pid] = None
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    return list(killed)


def marked(run_id: str) -> Iterator[int]:
    """Living processes that carry the mark; never this one."""
    wanted = f"{MARK}={run_id}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb") as file:
                carries = wanted in file.read().split(b"\0")
        except OSError:
            continue  # gone, or another user's
        if carries:
            yield int(entry.name)


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
