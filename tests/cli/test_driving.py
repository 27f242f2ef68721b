"""A driver that is asked how its devices are, which rules spoke, and whether it is ready."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from podvitals.cli.driving import asked_at
from podvitals.detect.detector import Device
from podvitals.detect.family import Family
from podvitals.detect.rules.load import builtin
from podvitals.detect.schedule import Schedule
from podvitals.detect.signal import Code, Signal, State
from tests.cli.test_main import podvitals


class Gpus(Family):
    """Two GPUs; what the first is told, and when they may be read, a test says."""

    family, about, needs = "nvidia", "", ""
    interval = 0.05

    def __init__(self) -> None:
        self.readable = asyncio.Event()
        self.told: asyncio.Queue[Code] = asyncio.Queue()

    def find(self) -> Iterable[Device]:
        return (Device("gpu-0", {"productName": "H200"}), Device("gpu-1", {"productName": "H200"}))

    def read(self, device: Device) -> Iterable[Signal]:
        if not self.readable.is_set():
            raise TimeoutError
        return (State("nvidia.presence", "present"),)

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        while True:
            yield "gpu-0", await self.told.get()


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def until(port: int, sample: str, value: float = 1) -> dict[str, float]:
    """What /metrics says, once it says this."""
    async with asyncio.timeout(10):
        while True:
            _, text = await ask(port, "/metrics")
            said = {
                f"{one.name.removeprefix('podvitals_detect_')} {' '.join(one.labels.values())}".strip(): one.value
                for family in text_string_to_metric_families(text)
                for one in family.samples
            }
            if said.get(sample) == value:
                return said
            await asyncio.sleep(0)


@asynccontextmanager
async def at_work(gpus: Gpus) -> AsyncIterator[int]:
    """The port at which a driver of these GPUs can be asked."""
    schedule = Schedule("d", "n", [gpus])
    await schedule.start()
    running = asyncio.create_task(schedule.run())
    try:
        async with asked_at(("127.0.0.1", 0), [gpus], await asyncio.to_thread(builtin))(schedule) as listener:
            yield listener.port  # type: ignore[attr-defined]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_driver_tells_prometheus_of_its_devices_the_rules_that_spoke_and_of_programs_faults() -> None:
    gpus = Gpus()
    gpus.readable.set()
    async with at_work(gpus) as port:
        await until(port, "devices Healthy", 2)
        gpus.told.put_nowait(Code("xid", "13"))
        said = await until(port, "rule_seen_total xid.13 application restart-app")
        assert said["devices Healthy"] == 2, "a program's fault is no verdict, and yet it is counted"
        gpus.told.put_nowait(Code("xid", "79"))
        said = await until(port, "device_health gpu-0 H200 Unhealthy power-cycle")
        assert said["rule_applies gpu-0 xid.79 fatal power-cycle"] == 1
        assert said["rules fatal"] > 50


async def test_a_driver_is_ready_when_every_device_was_read() -> None:
    gpus = Gpus()
    schedule = Schedule("d", "n", [gpus])
    await schedule.start()
    async with asked_at(("127.0.0.1", 0), [gpus], await asyncio.to_thread(builtin))(schedule) as listener:
        port = listener.port  # type: ignore[attr-defined]
        assert await ask(port, "/readyz") == (503, "waiting for the first reading of gpu-0\nwaiting for the first reading of gpu-1\n")
        gpus.readable.set()
        await schedule.once()
        assert await ask(port, "/readyz") == (200, "ok\n")
        assert '"health": "Healthy"' in (await ask(port, "/state"))[1]
        assert (await ask(port, "/healthz"))[0] == 200


def test_where_a_driver_cannot_listen_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    outcome = podvitals("driver", "toy.example.com", "--detector", f"sim:{tmp_path}/toys", "--listen", "nowhere")
    assert outcome.returncode == 2
    assert "'nowhere' is not an address to listen on: write HOST:PORT" in outcome.stderr
