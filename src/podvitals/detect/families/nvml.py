"""NVIDIA's management library (NVML), by its Python binding nvidia-ml-py, loaded here and nowhere else, and only once it is asked for.

What its error codes mean for a reading is decided here, once: not supported is no signal, a lost GPU is that GPU's fault, and everything
else is the probe's own failure. NVML API reference: https://docs.nvidia.com/deploy/nvml-api/.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from podvitals.detect.detector import Unreadable
from podvitals.errors import LocalError

T = TypeVar("T")
MOST_GPUS = 256
MOST_MIG = 32


class NotSupported(Exception):
    """The GPU or its driver has no such thing."""


class Lost(Exception):
    """The GPU is not reachable any more (NVML_ERROR_GPU_IS_LOST)."""


class ResetRequired(Exception):
    """The GPU says that it has to be reset first (NVML_ERROR_RESET_REQUIRED)."""


class NotFound(Exception):
    """NVML lists no such GPU, or no such MIG device."""


class TimedOut(Exception):
    """Nothing happened while it was waited for."""


class Failed(Unreadable):
    """The call failed: a text for a person."""


class Stale(Failed):
    """NVML has to be started anew: it was shut down, or the driver below it went or is another one."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event. `gpu`: the handle's address. `xid` None: another kind of event. `instance`: GPU and compute instance of a MIG device."""

    gpu: int
    xid: int | None
    instance: tuple[int, int]


class Nvml:
    """One per process is enough; every call may be made in any thread, and may block."""

    def __init__(self) -> None:
        self.generation = 0
        """Grows when NVML is shut down: handles and event sets of an earlier one must not be touched any more, not even to free them."""
        self._library: Any = None
        self._turn = threading.Lock()

    def start(self) -> None:
        """Loads and initialises the library, if that was not done yet. Raises LocalError where a package is missing, else Failed."""
        with self._turn:
            if self._library is not None:
                return
            try:
                import pynvml
            except ImportError:
                raise LocalError("nvidia-ml-py is not installed: pip install nvidia-ml-py beside podvitals") from None
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise Failed(f"NVML cannot be used: {error}") from None  # the driver may be loaded later
            self._library = pynvml

    def stop(self) -> None:
        """What is asked next starts it anew: with a new driver, or with the GPUs there are then."""
        with self._turn:
            library, self._library = self._library, None
            self.generation += 1
        if library is not None:
            try:
                library.nvmlShutdown()
            except library.NVMLError:
                return

    def call(self, name: str, *arguments: Any) -> Any:
        """`nvml` + name of the binding. Raises NotSupported, Lost, ResetRequired, NotFound, TimedOut or Failed."""
        self.start()
        return self._asked(lambda: getattr(self._library, f"nvml{name}")(*arguments))

    def constant(self, name: str) -> Any:
        self.start()
        return getattr(self._library, name)

    def reference(self, structure: Any) -> Any:
        return ctypes.byref(structure)

    def words(self, error: int) -> str:
        """An error code of NVML in words."""
        self.start()
        return str(self._library.NVMLError(error))

    def _asked(self, job: Callable[[], T]) -> T:
        library = self._library
        if library is None:
            raise Stale("NVML was shut down meanwhile")
        try:
            return job()
        except AttributeError as error:
            raise NotSupported(str(error)) from None  # an older binding
        except library.NVMLError as error:
            kind = _KINDS.get(getattr(error, "value", -1), Failed)
            raise kind(str(error)) from None

    def gpus(self) -> Iterator[Any]:
        """The handle of each GPU; of one that is lost, none."""
        for index in range(min(self.call("DeviceGetCount"), MOST_GPUS)):
            try:
                yield self.call("DeviceGetHandleByIndex", index)
            except (Lost, NotFound, ResetRequired):
                continue

    def migs(self, gpu: Any) -> Iterator[tuple[Any, int, int]]:
        """Each MIG device of a GPU: handle, GPU instance, compute instance. None where MIG is off."""
        try:
            if self.call("DeviceGetMigMode", gpu)[0] != 1:
                return
            most = self.call("DeviceGetMaxMigDeviceCount", gpu)
        except NotSupported:
            return
        for index in range(min(most, MOST_MIG)):
            try:
                handle = self.call("DeviceGetMigDeviceHandleByIndex", gpu, index)
                yield handle, self.call("DeviceGetGpuInstanceId", handle), self.call("DeviceGetComputeInstanceId", handle)
            except NotFound:
                continue

    def fields(self, gpu: Any, wanted: Sequence[int | tuple[int, int]]) -> list[int | None]:
        """Values of fields (an id, or id and scope); None where the GPU has no such field. One call for all."""
        if not wanted:
            return []
        found: list[int | None] = []
        for value in self.call("DeviceGetFieldValues", gpu, list(wanted)):
            if value.nvmlReturn == 0:
                found.append(int(value.value.ullVal if value.valueType in _OF_64_BITS else value.value.uiVal))
            elif _KINDS.get(value.nvmlReturn) is Lost:
                raise Lost("GPU is lost")
            else:
                found.append(None)
        return found

    def wait(self, events: Any, milliseconds: int) -> Happened:
        """The next event of an event set. Raises TimedOut and what call() raises."""
        event = self.call("EventSetWait_v2", events, milliseconds)
        xid = int(event.eventData) if event.eventType == self._library.nvmlEventTypeXidCriticalError else None
        return Happened(address_of(event.device), xid, (int(event.gpuInstanceId), int(event.computeInstanceId)))


_OF_64_BITS = (2, 3, 4)
"""nvmlValueType_t: unsigned long, unsigned long long, signed long long; of others only the lower half is written."""
_KINDS: dict[int, type[Exception]] = {
    1: Stale,  # UNINITIALIZED
    9: Stale,  # DRIVER_NOT_LOADED
    18: Stale,  # LIB_RM_VERSION_MISMATCH
    2: NotSupported,  # INVALID_ARGUMENT: a field or link this GPU has not got
    3: NotSupported,
    13: NotSupported,  # FUNCTION_NOT_FOUND: an older driver
    21: NotSupported,  # NO_DATA
    22: NotSupported,  # VGPU_ECC_NOT_SUPPORTED
    25: NotSupported,  # ARGUMENT_VERSION_MISMATCH: an older driver
    26: NotSupported,  # DEPRECATED
    6: NotFound,
    28: NotFound,
    10: TimedOut,
    15: Lost,
    16: ResetRequired,
}


def address_of(handle: Any) -> int:
    """What tells one handle from another: they are pointers, and the same GPU has the same one until NVML is started anew."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
