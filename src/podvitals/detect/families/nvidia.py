"""Family `nvidia`: NVIDIA's GPUs and their MIG devices, by NVML. `nvidia[:PATTERN,...]`, of names or addresses.

Needs the package nvidia-ml-py, which is loaded in this process only. Without it, or without the driver's NVML, `kmsg:gpu` reads the same
driver's lines in the kernel log.

Traps kept in mind:
* Events that came before the event set was registered are lost: what they left behind (the recovery action) is read after registering.
* Events of a GPU without MIG carry 0xFFFFFFFF as GPU and compute instance: they mean the whole GPU, and so every MIG device on it.
* That waiting for events fails is the probe's failure, not that of every GPU; a lost GPU is that GPU's fault alone.
* Links of NVLink that are not connected read "inactive" for ever: only one that was active before is down.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from podvitals.detect.detector import Attribute, Device, Version
from podvitals.detect.families import pcidev
from podvitals.detect.families.nvidia_signals import action_of, polled
from podvitals.detect.families.nvml import Failed, Happened, Lost, NotFound, NotSupported, Nvml, ResetRequired, Stale, TimedOut, address_of
from podvitals.detect.family import PCI, Family, pci_device
from podvitals.detect.roots import Roots
from podvitals.detect.signal import LIFE, Code, Signal, State, Unread
from podvitals.detect.spec import Spec
from podvitals.detect.subject import pci_address
from podvitals.detect.worker import Worker

WHOLE_GPU = 0xFFFFFFFF
WAIT = 2000
"""Milliseconds to wait for an event at a time; only the end of the process waits for it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU, or a MIG device of it (`instance`: its GPU and compute instance)."""

    address: str
    instance: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        name = pci_device(self.address)
        return f"{name}-mig-{self.instance[0]}-{self.instance[1]}" if self.instance is not None else name

    def hears(self, instance: tuple[int, int]) -> bool:
        """Whether an event of this instance of its GPU is about it."""
        if self.instance is None or instance[0] == WHOLE_GPU:
            return True
        return self.instance[0] == instance[0] and instance[1] in (WHOLE_GPU, self.instance[1])


class Nvidia(Family):
    family, about = "nvidia", "NVIDIA's GPUs and MIG devices"
    needs = "NVIDIA's driver, and the package nvidia-ml-py"
    interval, timeout = 5.0, 4.0

    def __init__(self, *patterns: str, nvml: Nvml | None = None) -> None:
        super().__init__(*patterns)
        self._nvml = nvml or Nvml()
        self._places: dict[str, Place] = {}
        self._devices: dict[str, Device] = {}
        self._seen_up: dict[str, set[int]] = {}
        self._bus = pcidev.Chosen("10de:*")
        # By device: the driver that was loaded, and what it asked for last, so that their change is noticed.
        self._modules: dict[str, int] = {}
        self._actions: dict[str, str] = {}

    @classmethod
    def available(cls, roots: Roots) -> str:
        return cls.hindered(roots) or ("" if _loaded(roots) else "NVIDIA's driver is not loaded")

    @classmethod
    def hindered(cls, roots: Roots) -> str:
        return "the package nvidia-ml-py is not installed" if _loaded(roots) and find_spec("pynvml") is None else ""

    def find(self) -> Iterable[Device]:
        driver = _version(self._nvml.call("SystemGetDriverVersion"))
        known = set()
        for gpu in self._nvml.gpus():
            with suppress(Lost, ResetRequired, NotFound):
                known.add(self._found(gpu, driver))
        # A GPU that was lost, or could not be started, before anybody looked is only in sysfs.
        with suppress(OSError):
            for address, kind, published in self._bus.devices(self.roots.sys):
                place = Place(address)
                there = address not in known and kind == "gpu" and published.get("driver") == "nvidia"
                if there and place.name not in self._devices and self._wanted(place):
                    self._keep(place, published, {})
        # A GPU that NVML lists no more stays: reading it tells what became of it.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        place = self._places[device.name]
        try:
            gpu = self._nvml.call("DeviceGetHandleByPciBusId", place.address)
            found: list[Signal] = [State("nvidia.presence", "present")]
            found += polled(self._nvml, gpu, self._seen_up.setdefault(place.address, set()))
        except Lost:
            return [State("nvidia.presence", "lost")]
        except ResetRequired:
            return [State("nvidia.presence", "present"), State("nvidia.reset_required", "yes")]
        except NotFound:
            return [Unread("nvidia.presence", "NVML does not list this GPU")]
        except Stale:
            self._nvml.stop()
            raise
        if place.instance is not None and place.instance not in {mig[1:] for mig in self._nvml.migs(gpu)}:
            found.append(Unread("nvidia.mig", "the GPU has no such MIG device any more"))
        return [*self._life(device.name, found), *found]

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        with Worker(f"{self} events") as worker:
            events, gpus = await worker.call(self._registered)
            generation = self._nvml.generation
            try:
                for address in gpus.values():
                    for told in await worker.call(lambda address=address: self._recovery(address)):  # type: ignore[misc]
                        yield told
                while True:
                    if self._nvml.generation != generation:
                        raise Stale("NVML was started anew")  # and so is this, with GPUs and handles as they are then
                    try:
                        happened = await worker.call(lambda: self._nvml.wait(events, WAIT))
                    except TimedOut:
                        continue
                    for told in await worker.call(lambda happened=happened: self._told(happened, gpus)):  # type: ignore[misc]
                        yield told
            finally:
                # In the same thread: a set must not be freed while it is waited for.
                worker.call(lambda: self._freed(events, generation)).add_done_callback(lambda done: done.cancelled() or done.exception())

    def remember(self) -> Mapping[str, str]:
        links = {f"nvlink {address}": " ".join(map(str, sorted(links))) for address, links in self._seen_up.items() if links}
        return links | {f"driver {name}": str(inode) for name, inode in self._modules.items()}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        for key, links in memory.items():
            if key.startswith("nvlink "):
                self._seen_up[key.removeprefix("nvlink ")] = {int(link) for link in links.split() if link.isdecimal()}
            elif key.startswith("driver ") and same_boot and links.isdecimal():
                self._modules[key.removeprefix("driver ")] = int(links)

    def _life(self, name: str, told: Iterable[Signal]) -> list[Signal]:
        """A driver that was loaded anew, or that asked for a recovery and asks for none any more, tells that the GPU was reset."""
        found: list[Signal] = []
        with suppress(OSError):
            before, now = self._modules.get(name), (self.roots.sys / "module/nvidia").stat().st_ino
            self._modules[name] = now
            if before not in (None, now):
                found.append(Code(LIFE, "reset", "the driver was loaded anew"))
        for signal in told:
            if isinstance(signal, State) and signal.name == "nvidia.recovery":
                if signal.value == "none" and self._actions.get(name, "none") != "none":
                    found.append(Code(LIFE, "reset", f"the driver asked for {self._actions[name]} and asks for nothing any more"))
                self._actions[name] = signal.value
        return found[:1]

    def _found(self, gpu: Any, driver: str) -> str:
        """Keeps a GPU, or its MIG devices; its address."""
        address = pci_address(_text(self._nvml.call("DeviceGetPciInfo", gpu).busId))
        attributes = {**pcidev.attributes(self.roots.sys, address), PCI: address, "type": "gpu", **self._described(gpu, driver)}
        place, migs = Place(address), list(self._nvml.migs(gpu))
        # A GPU in MIG mode is given away in pieces only; one that was listed whole before stays listed.
        if (not migs or place.name in self._devices) and self._wanted(place):
            self._keep(place, attributes, self._memory(gpu))
        for handle, *instance in migs:
            piece = Place(address, (instance[0], instance[1]))
            if self._wanted(piece):
                with suppress(NotFound):
                    parts = {"type": "mig", **self._identity(handle), "parentUUID": str(attributes.get("uuid", ""))}
                    if profile := re.search(r"MIG (\S+)$", str(parts.get("productName", ""))):
                        parts["profile"] = profile[1]
                    self._keep(piece, attributes | parts, self._memory(handle))
        return address

    def _keep(self, place: Place, attributes: Mapping[str, Attribute], memory: Mapping[str, int]) -> None:
        self._places[place.name] = place
        self._devices[place.name] = Device(place.name, attributes, memory, handle=place.address)

    def _wanted(self, place: Place) -> bool:
        return self.chosen(place.address, place.name, "gpu" if place.instance is None else "mig")

    def _identity(self, handle: Any) -> dict[str, Attribute]:
        asked = {"productName": "DeviceGetName", "uuid": "DeviceGetUUID", "serial": "DeviceGetSerial"}
        found: dict[str, Attribute] = {}
        for attribute, call in asked.items():
            with suppress(NotSupported, Failed):
                found[attribute] = pcidev.fits(_text(self._nvml.call(call, handle)))
        return {name: value for name, value in found.items() if value}

    def _described(self, gpu: Any, driver: str) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {**self._identity(gpu), "driverVersion": Version(driver)}
        with suppress(NotSupported, Failed):
            major, minor = self._nvml.call("DeviceGetCudaComputeCapability", gpu)
            found["cudaComputeCapability"] = Version(f"{major}.{minor}.0")
        return found

    def _memory(self, handle: Any) -> dict[str, int]:
        with suppress(NotSupported, Failed):
            return {"memory": int(self._nvml.call("DeviceGetMemoryInfo", handle).total)}
        return {}

    def _registered(self) -> tuple[Any, dict[int, str]]:
        """An event set that hears every GPU, and the address behind each handle. A GPU that cannot be registered is read all the same."""
        events, gpus = self._nvml.call("EventSetCreate"), {}
        for gpu in self._nvml.gpus():
            with suppress(Lost, ResetRequired, NotFound, NotSupported):
                address = pci_address(_text(self._nvml.call("DeviceGetPciInfo", gpu).busId))
                kinds = self._nvml.call("DeviceGetSupportedEventTypes", gpu) & self._kinds()
                self._nvml.call("DeviceRegisterEvents", gpu, kinds, events)
                gpus[address_of(gpu)] = address
        return events, gpus

    def _freed(self, events: Any, generation: int) -> None:
        if self._nvml.generation == generation:
            self._nvml.call("EventSetFree", events)

    def _kinds(self) -> int:
        wanted = int(self._nvml.constant("nvmlEventTypeXidCriticalError"))
        for name in ("nvmlEventTypeGpuRecoveryAction", "nvmlEventTypeGpuUnavailableError"):
            with suppress(AttributeError):  # an older binding
                wanted |= int(self._nvml.constant(name))
        return wanted

    def _told(self, happened: Happened, gpus: Mapping[int, str]) -> list[tuple[str, Signal]]:
        address = gpus.get(happened.gpu, "")
        told: list[tuple[str, Signal]] = []
        if happened.xid is not None:
            gi, ci = ("" if number == WHOLE_GPU else str(number) for number in happened.instance)
            code = Code(
                "xid", str(happened.xid), params=tuple((k, v) for k, v in (("by", "nvml"), ("pci", address), ("gi", gi), ("ci", ci)) if v)
            )
            told = [(name, code) for name in self._on(address, happened.instance)]
        return [*told, *self._recovery(address)]

    def _on(self, address: str, instance: tuple[int, int] = (WHOLE_GPU, WHOLE_GPU)) -> list[str]:
        """The devices an event is about; where none is that one, all on the GPU: a fault is better told to a neighbour than to nobody."""
        here = [place for place in list(self._places.values()) if place.address == address]
        return [place.name for place in here if place.hears(instance)] or [place.name for place in here]

    def _recovery(self, address: str) -> list[tuple[str, Signal]]:
        try:
            state: Signal | None = action_of(self._nvml, self._nvml.call("DeviceGetHandleByPciBusId", address))
        except Lost:
            state = State("nvidia.presence", "lost")
        except (NotFound, NotSupported, ResetRequired, Failed):
            state = None
        if state is None:
            return []
        return [(name, signal) for name in self._on(address) for signal in (*self._life(name, [state]), state)]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _version(said: object) -> str:
    """`580.65.6`, a semantic version, from `580.65.06`."""
    numbers = [str(int(part)) for part in re.findall(r"\d+", _text(said))[:3]]
    return ".".join([*numbers, "0", "0", "0"][:3])


def _loaded(roots: Roots) -> bool:
    return (roots.proc / "driver/nvidia/version").exists()


FAMILY = Nvidia


def from_spec(spec: Spec) -> Nvidia:
    spec.only()
    return Nvidia(*spec.what)
