"""Faults in this machine's kernel, and what a pod that holds the device must then say: for the lab and for a real Kubernetes alike."""

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import Object
from tests.cluster.subjects import World, condition, entries, field_of
from tests.detect import veth
from tests.roots import requires

KMSG, PCI = Path("/dev/kmsg"), Path("/sys/bus/pci/devices")
BOUND = sorted(device.name for device in PCI.glob("*") if (device / "driver").exists())
"""PCI devices that a driver of this machine's serves: one of them has to stand in for a GPU. Nothing is done to it."""
requires_pci_and_log = requires(
    "the right to read and write the kernel log, and a PCI device", bool(BOUND) and os.access(KMSG, os.R_OK | os.W_OK)
)
_numbers = itertools.count(1)
LINES = """
[lines.xid]
table = "xid"
code = "{{xid}}"
has = "{run}"
pattern = 'NVRM: Xid \\(PCI:(?P<pci>[0-9a-f:.]+)\\): (?P<xid>\\d+), '

[lines.was-reset]
table = "life"
code = "reset"
has = "{run}"
pattern = 'NVRM: GPU (?P<pci>[0-9a-f:.]+) was reset'
"""


@dataclass(frozen=True)
class Faulty:
    """A device of this machine that can be broken. `words`: of a driver that watches it; `says`, `action`: of the rule."""

    words: tuple[str, ...]
    says: str
    action: str
    break_it: Callable[[], None]
    mend: Callable[[], None]


def _detectors(*specs: str) -> tuple[str, ...]:
    return tuple(word for spec in specs for word in ("--detector", spec))


@contextmanager
def carrier() -> Iterator[Faulty]:
    """A network interface whose other end goes down."""
    with veth.pair("pvw") as (name, peer):
        says = f"interface {name} is down: no carrier"
        yield Faulty(_detectors(f"nic:{name}"), says, "", lambda: veth.down(peer), lambda: veth.up(peer))


@contextmanager
def node() -> Iterator[Faulty]:
    """A device node that vanishes."""
    path = Path(f"/dev/pvw{os.getpid()}-{next(_numbers)}")

    def make() -> None:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # the device /dev/null is

    make()
    try:
        yield Faulty(_detectors(f"nodes:{path}"), f"device node {path} is missing", "", path.unlink, make)
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


class Log:
    """Lines of NVIDIA's driver about one PCI device. The log keeps what earlier runs wrote, and a driver that starts reads all of it: so
    each run knows its own lines by a word in them."""

    def __init__(self, table: Path) -> None:
        self.device, self._run = BOUND[-1], f"run={os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}"
        table.write_text(LINES.format(run=self._run))
        self.words = ("--rules", str(table), *_detectors(f"pcie:{self.device}", f"kmsg:{self.device},from=anybody"))

    def xid(self, number: int) -> None:
        self._write(f"NVRM: Xid (PCI:{self.device}): {number}, {self._run}")

    def reset(self) -> None:
        self._write(f"NVRM: GPU {self.device} was reset, {self._run}")

    def _write(self, line: str) -> None:
        """Opened for each: the kernel limits how many lines one opener may write."""
        descriptor = os.open(KMSG, os.O_WRONLY)
        os.write(descriptor, f"<11>{line}\n".encode())
        os.close(descriptor)


@contextmanager
def xid(directory: Path) -> Iterator[Faulty]:
    """A GPU of which the kernel log tells that it needs a reset, until it is reset."""
    log = Log(directory / "lines.toml")
    says = f"Xid 48: Double-bit memory error (PCI {log.device})"
    yield Faulty(log.words, says, "reset-gpu", lambda: log.xid(48), log.reset)


def tells(health: str, says: str = "", action: str = "") -> Callable[[Object], bool]:
    """Whether a pod says so in each of the three places: the kubelet's field, the agent's condition and its annotation."""
    status = {"Healthy": "True", "Unhealthy": "False"}[health]

    def holds(pod: Object) -> bool:
        shown, noted, told = list(field_of(pod).values()), entries(pod), condition(pod)
        return (
            [(shown_health, says in message) for shown_health, message in shown] == [(health, True)]
            and [(entry["health"], says in entry.get("message", ""), entry.get("action", "")) for entry in noted]
            == [(health, True, action)]
            and told.get("status") == status
            and says in told.get("message", "")
        )

    return holds


async def held_by_a_pod(world: World, *words: str) -> None:
    """`podvitals driver` with these words, and a pod that holds its only device."""
    world.processes.python("driver", "-m", "podvitals", "driver", world.driver, *words, *world.flags())
    await world.create_pod("trainer", command=["sleep", "infinity"])
    await world.pod("trainer", tells("Healthy"), within=30)


async def from_the_kernel_to_the_pod(world: World, faulty: Faulty) -> None:
    """Broken, it is told with the rule's words and action in all three places; mended, it is Healthy there and the fault on record."""
    await held_by_a_pod(world, *faulty.words)
    faulty.break_it()
    await world.pod("trainer", tells("Unhealthy", faulty.says, faulty.action))
    faulty.mend()
    pod = await world.pod("trainer", tells("Healthy"))
    (entry,) = entries(pod)
    assert faulty.says in entry["faults"][-1]["message"]


async def what_a_reset_does_not_mend(world: World, log: Log) -> None:
    """Xid 48 ends with a reset, Xid 79 does not: what is left of the two says so."""
    await held_by_a_pod(world, *log.words)
    log.xid(48)
    log.xid(79)
    fallen = f"Xid 79: GPU has fallen off the bus (PCI {log.device})"
    await world.pod("trainer", tells("Unhealthy", fallen, "power-cycle"))
    await world.pod("trainer", tells("Unhealthy", "Xid 48", "power-cycle"))
    log.reset()
    await world.pod("trainer", lambda pod: tells("Unhealthy", fallen, "power-cycle")(pod) and "Xid 48" not in str(field_of(pod)))
