"""What the author of a driver writes: `Driver("toy.example.com", Toys(root)).main()`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, Protocol

from podvitals.claim.resource import ResourceClaim
from podvitals.clock import SYSTEM, Clock
from podvitals.detect.detector import Detector, check_detector
from podvitals.detect.schedule import Schedule
from podvitals.device.key import check_driver_name
from podvitals.driver.auxiliary import For, speaking_for
from podvitals.driver.cdi import CdiEdits, Mount
from podvitals.driver.join import written_mapping
from podvitals.driver.prepare import GivenClaims, Hook
from podvitals.driver.serve import Parts, Serving, serving
from podvitals.driver.settings import Settings, check_driver, check_source
from podvitals.errors import PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig

__all__ = ["CdiEdits", "Driver", "HealthSource", "Kubelet", "Mount"]


class Kubelet(Protocol):
    """What of a kubelet a driver must know: its directory, which holds plugins_registry/ and plugins/."""

    @property
    def directory(self) -> Path: ...


Beside = Callable[[Schedule], AbstractAsyncContextManager[object]]
"""What is done while a driver serves; it may look at its detectors and their devices."""


def alone(_: Schedule) -> AbstractAsyncContextManager[object]:
    """Nothing beside it."""
    return nullcontext()


class Driver:
    """A DRA driver made of detectors.

    `prepare(claim, devices)` may return CdiEdits: what containers that use the claim are given beside their devices' nodes and
    environment. It may block, or be `async`; an exception fails the claim, with its text. A name Kubernetes would refuse, and a detector
    that cannot work, are refused when it starts, not here: only `main` can say so without a traceback."""

    def __init__(self, name: str, *detectors: Detector, prepare: Hook | None = None) -> None:
        self.name = name
        self._parts = Parts(name, detectors, prepare)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The whole process: reads the flags (see --help), serves until SIGTERM or Ctrl-C, and exits: 0, or the error's exit code."""
        import click

        from podvitals.driver.flags import driver_flags

        @click.command(self.name, help=f"Run the DRA driver {self.name} on this node.")
        @driver_flags
        def command(**flags: Any) -> None:
            self.run(flags)

        try:
            self._check()
            command.main(list(arguments) if arguments is not None else None, prog_name=Path(sys.argv[0]).name or self.name)
        except PodvitalsError as error:
            self._last_word(str(error), error.exit_code)
        except Exception as error:
            if os.environ.get("PODVITALS_DEBUG"):
                raise
            self._last_word(f"internal error: {type(error).__name__}: {error}; PODVITALS_DEBUG=1 shows where", 70)

    def run(self, flags: Mapping[str, Any], beside: Beside = alone) -> None:
        """Serves as the flags say, until SIGTERM or SIGINT. Raises PodvitalsError."""
        self._check()
        _run(self._serve, flags, beside)

    def _check(self) -> None:
        check_driver(self.name)
        for detector in self._parts.detectors:
            check_detector(detector)

    def _last_word(self, text: str, code: int) -> NoReturn:
        print(f"{self.name}: {text}", file=sys.stderr)  # noqa: T201 - the process's own
        sys.exit(code)

    async def _serve(self, settings: Settings, config: ClusterConfig, beside: Beside) -> None:
        stop = _told_to_end()
        async with Client(config) as client, serving(self._parts, settings, client) as served, beside(served.schedule):
            await stop.wait()

    @asynccontextmanager
    async def serving(
        self,
        kubelet: Kubelet,
        *,
        node: str = "node-1",
        client: Client | None = None,
        claims: Iterable[ResourceClaim] = (),
        pod_uid: str = "",
        clock: Clock = SYSTEM,
    ) -> AsyncIterator[Serving]:
        """For tests: serves in this process, in the directory of a FakeKubelet. `claims`: what prepare finds, where there is no
        `client`."""
        self._check()
        settings = Settings(node, kubelet.directory / "plugins_registry", kubelet.directory / "cdi", pod_uid)
        given = None if client is not None else GivenClaims(claims)
        async with serving(self._parts, settings, client, claims=given, clock=clock) as served:
            yield served


class HealthSource:
    """Detectors that speak of another driver's devices (`podvitals driver --health-for`). `name`: this source's among the driver's;
    `mapping`: `OURS=THEIRS` for devices whose attributes do not tell (driver/join.py). Raises InvalidInput."""

    def __init__(self, driver: str, *detectors: Detector, name: str = "podvitals", mapping: Sequence[str] = ()) -> None:
        self._for = For(check_driver_name(driver), check_source(name), written_mapping(mapping))
        self._parts = Parts(driver, detectors)

    def run(self, flags: Mapping[str, Any], beside: Beside = alone) -> None:
        """Serves as the flags say, until SIGTERM or SIGINT. Raises PodvitalsError."""
        _run(self._serve, flags, beside)

    async def _serve(self, settings: Settings, config: ClusterConfig, beside: Beside) -> None:
        stop = _told_to_end()
        async with Client(config) as client, speaking_for(self._for, self._parts, settings, client) as joined, beside(joined.schedule):
            await stop.wait()


def _run(serve: Callable[[Settings, ClusterConfig, Beside], Coroutine[Any, Any, None]], flags: Mapping[str, Any], beside: Beside) -> None:
    from podvitals.driver import logs
    from podvitals.driver.flags import settings_of
    from podvitals.kube.locate import load_config

    settings = settings_of(flags)
    logs.set_up(flags["log_format"])
    config = load_config(flags["kubeconfig"], flags["context"])

    async def main() -> None:
        await serve(settings, config, beside)

    asyncio.run(main())


def _told_to_end() -> asyncio.Event:
    """Set by SIGTERM and SIGINT, from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
