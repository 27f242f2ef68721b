"""Drivers that mean harm, or are broken as if they did, on real sockets: bounded, refused, counted, and the others unharmed."""

import asyncio
import logging
import socket
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from h2.connection import H2Connection

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.limits import Limits
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import DeviceReport, PluginInfo
from tests.node.seen import Seen, watching
from tests.wire.peers import OK, RawServer, message, settle
from tests.wire.test_golden import field

GPU0 = DeviceKey("gpu.example.com", "node1", "gpu-0")


def said(device: str = "gpu-0", health: Health = Health.HEALTHY, message: str = "", lease: float = 60.0) -> DeviceReport:
    return DeviceReport("node1", device, health, 1000.0, lease, message)


def entry(device: bytes | str, *more: bytes) -> bytes:
    return field(1, field(1, field(1, "node1") + field(2, device)) + b"".join(more))


class Others:
    """Another driver, to be heard whatever the hostile one does."""

    def __init__(self, seen: Seen, driver: FakeDriver) -> None:
        self._seen, self._driver = seen, driver

    async def are_heard(self) -> None:
        for health in (Health.UNHEALTHY, Health.HEALTHY):
            self._driver.report({"nic-0": health})
            await self._seen.device("nic-0", health, driver="nic.example.com")


@asynccontextmanager
async def others(place: Path, limits: Limits | None = None) -> AsyncIterator[tuple[Seen, Others]]:
    async with FakeDriver(place, "nic.example.com") as nic, watching(place, limits=limits) as seen:
        beside = Others(seen, nic)
        await beside.are_heard()
        yield seen, beside
        await beside.are_heard()


async def test_a_million_devices_are_refused_but_for_as_many_as_are_kept(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with others(place, Limits(devices_per_driver=1000)) as (seen, beside), FakeDriver(place) as driver:
        part, begin = 125_000, entry("d000000")[: -len("d000000")]
        driver.report_raw(*(b"".join(begin + b"d%06d" % n for n in range(at, at + part)) for at in range(0, 8 * part, part)))
        # A report counts when it comes, what is refused of it when it was read.
        await seen.driver(lambda views: any(view.refusals["invalid entry"] >= 8 for view in views))
        await beside.are_heard()
        view = next(view for view in seen.watch.drivers() if view.driver == "gpu.example.com")
        assert view.devices == 1000
        assert view.reports == view.refusals["invalid entry"] == 8, "only the first entries of each are read"
        assert view.refusals["too many devices"] > 1000
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


class Flood(FakeDriver):
    """As fast as it is read, never the same bytes twice."""

    async def watch(self) -> AsyncIterator[bytes]:
        turn = 0
        while True:
            turn += 1
            yield encode_report([said(f"gpu-{n}", Health.HEALTHY if (turn + n) % 3 else Health.UNHEALTHY, f"{turn}") for n in range(20)])[0]


async def test_ten_thousand_reports_a_second_do_not_keep_others_from_being_heard(place: Path) -> None:
    async with others(place) as (seen, beside), Flood(place):
        await seen.driver(lambda views: any(view.reports > 200 for view in views))
        for _ in range(5):
            await beside.are_heard()


FORMAT_CHARACTERS = "".join(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp"))


TEXTS = [
    b"\x1b[2J\x1b]0;owned\x07",
    b'a\r\nlevel=info msg="all is well"',
    "\u202eyhtlaeH\u202c".encode(),
    b"\xff\xfe\xc3(",
    b"\0",
    b"\xed\xa0\x80",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_no_character_of_a_message_reaches_a_terminal_or_a_log_as_more_than_text(
    place: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "podvitals")
    async with others(place) as (seen, _), FakeDriver(place) as driver:
        driver.report_raw(entry("gpu-0", field(2, 2), field(5, text), field(1001, text)) + entry(text, field(5, text)))
        await seen.device("gpu-0", Health.UNHEALTHY)
        state = seen.watch.state(GPU0)
        assert state.message.isprintable()
        assert state.action.isprintable()
    for record in caplog.records:
        assert record.getMessage().isprintable(), record
        assert all(str(value).isprintable() for name, value in vars(record).items() if name in ("who", "driver", "endpoint", "error"))


async def test_no_format_character_of_unicode_survives_in_a_message(place: Path) -> None:
    async with FakeDriver(place) as driver, watching(place) as seen:
        for at in range(0, len(FORMAT_CHARACTERS), 60):
            part = FORMAT_CHARACTERS[at : at + 60]
            driver.report([said(health=Health.UNHEALTHY, message=f"{at}: {part}")])
            await seen.device("gpu-0", Health.UNHEALTHY, text=f"{at}: ")
            assert not set(seen.said("gpu-0")) & set(FORMAT_CHARACTERS)


class Liar(FakeDriver):
    answer = PluginInfo("DRAPlugin", "gpu.example.com", "/x", ())

    async def get_info(self) -> PluginInfo:
        await self._count("GetInfo")
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        PluginInfo("DRAPlugin", "gpu\x1b[31m.example.com", "/x", ()),
        PluginInfo("DRAPlugin", "gpu.example.com", "/x\x1b[31m\u202e", ()),
        PluginInfo("DRAPlugin", "gpu.example.com", "relative", ()),
        PluginInfo("DRAPlugin", "gpu.example.com", "/" + "x" * 5000, ()),
        PluginInfo("DRAPlugin", "", "/x", ("v" * 3000,) * 20),
        PluginInfo("podvitals.dev/HealthSource", "gpu.example.com/" + "s" * 64, "/x", ()),
    ],
)
async def test_a_registration_that_is_none_is_refused_and_said_in_printable_words(
    place: Path, answer: PluginInfo, caplog: pytest.LogCaptureFixture
) -> None:
    async with others(place) as (seen, _):
        liar = Liar(place, "liar.example.com")
        liar.answer = answer
        async with liar:
            await liar.called("GetInfo")
            async with asyncio.timeout(5):
                while "refused" not in caplog.text:
                    await asyncio.sleep(0.005)
        assert all(record.getMessage().isprintable() for record in caplog.records)
        assert {view.driver for view in seen.watch.drivers()} == {"nic.example.com"}


@pytest.mark.parametrize("checked", [1, 2**63, 2**64 - 1, 16725225600, 2**63 - 1])
@pytest.mark.parametrize("lease", [0, 2**64 - 1, 2**63, 2**63 - 1])
async def test_times_and_leases_that_cannot_be_are_put_right(place: Path, checked: int, lease: int) -> None:
    async with others(place) as (seen, _), FakeDriver(place) as driver:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        driver.report_raw(entry("gpu-0", field(2, 1), field(3, checked), field(4, lease)))
        await seen.device("gpu-0", Health.HEALTHY)
        state = seen.watch.state(GPU0)
        assert 0 <= state.checked_at <= time.time()
        assert state.deadline is not None
        assert 1 <= state.deadline - before <= 24 * 3600 + 60


async def test_a_driver_whose_endpoint_takes_connections_and_says_nothing_is_told_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PluginClient.__init__, "__kwdefaults__", {"connect_timeout": 0.1})
    liar = Liar(place, "half.example.com")
    mute = place / "mute.sock"
    liar.answer = PluginInfo("DRAPlugin", "half.example.com", str(mute), ("v1.DRAPlugin", "v1.DRAResourceHealth"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(mute))
        listening.listen(100)
        async with others(place) as (seen, _), liar:
            await seen.driver(lambda views: any("says nothing" in view.trouble for view in views))


async def test_a_stream_that_never_ends_its_message_does_not_keep_its_lease(place: Path) -> None:
    clock = ManualClock()

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        h2.send_data(stream, message(encode_report([said(lease=10)])[0]) + b"\0\0\0")

    def drip(writer: asyncio.StreamWriter) -> None:
        if not writer.is_closing():
            writer.write(DRIP)
            asyncio.get_running_loop().call_later(0.01, drip, writer)

    liar = Liar(place)
    liar.answer = PluginInfo("DRAPlugin", "gpu.example.com", str(place / "drip.sock"), ("v1.DRAResourceHealth",))
    async with RawServer(answer, drip).at(place / "drip.sock"), liar, watching(place, clock) as seen:
        await seen.device("gpu-0", Health.HEALTHY)
        await clock.advance(10)
        await seen.device("gpu-0", Health.UNKNOWN, text="for 10s (driver silent)")
    await settle()


DRIP = b"\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00"
"""A DATA frame of one byte on stream 1."""


async def test_a_driver_that_hangs_up_at_once_is_dialled_ever_more_slowly(place: Path) -> None:
    dialled = 0

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.close()

    liar = Liar(place, "flap.example.com")
    liar.answer = PluginInfo("DRAPlugin", "flap.example.com", str(place / "flap.sock"), ("v1.DRAResourceHealth",))
    server = await asyncio.start_unix_server(hang_up, place / "flap.sock")
    async with others(place) as (seen, beside), liar:
        await seen.driver(lambda views: any(view.trouble for view in views))
        for _ in range(100):
            await beside.are_heard()
        assert dialled < 30
    server.close()
    await server.wait_closed()


async def test_a_driver_that_registers_anew_all_the_time_does_not_fill_the_log(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podvitals")
    async with others(place) as (seen, beside):
        for _ in range(15):
            async with FakeDriver(place) as driver:
                driver.report({"gpu-0": Health.HEALTHY})
                await driver.watched()
            await seen.driver(lambda views: all(view.driver != "gpu.example.com" or not view.endpoint for view in views))
        await beside.are_heard()
    lines = [record.getMessage() for record in caplog.records if getattr(record, "driver", "") == "gpu.example.com"]
    assert sorted(set(lines)) == sorted(lines), "each line once"


async def test_a_socket_s_name_is_said_in_printable_characters(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with others(place):
        liar = Liar(place, "liar.example.com")
        liar.answer = PluginInfo("DRAPlugin", "No Name", "/x", ())
        liar.registration_path = place / "plugins_registry" / "\x1b[31m\u202e\udcff-reg.sock"
        async with liar:
            await liar.called("GetInfo")
            async with asyncio.timeout(5):
                while "refused" not in caplog.text:
                    await asyncio.sleep(0.005)
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert all(str(getattr(record, "who", "")).isprintable() for record in caplog.records)
