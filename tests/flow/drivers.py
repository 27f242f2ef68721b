"""What must be true of any DRA driver that reports health, whoever wrote it: a suite over a `Subject`, the driver under test.

`DriverClaims` is what a kubelet relies on (CONTRACT §1-§3); `LiveDriverClaims` adds what only a driver with detectors of its own can show.
A class of tests inherits one of them and says by `subject()` which driver it is about.
"""

import asyncio
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import PluginUnimplemented
from podvitals.testing import FakeKubelet
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import decode_report
from podvitals.wire.endpoint import LONGEST_PATH
from podvitals.wire.messages import (
    ALL_VERSIONS,
    DRA_VERSIONS,
    HEALTH_VERSIONS,
    PLUGIN_TYPE,
    ClaimRef,
    DeviceReport,
    PluginInfo,
    PrepareResult,
)

AT_ONCE = 2.0
"""Seconds within which a first report, or a change, must be there; generous to a busy machine."""
_CDI_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*/[a-zA-Z][a-zA-Z0-9_-]*=[a-zA-Z0-9]([a-zA-Z0-9_.:-]*[a-zA-Z0-9])?")


class Subject(ABC):
    """The driver under test: two devices, both Healthy at first, and a claim that holds the first of them."""

    name: str
    pool: str
    devices: tuple[str, str]
    claim: ClaimRef
    request: str

    @abstractmethod
    def serving(self, directory: Path) -> AbstractAsyncContextManager[object]:
        """The driver, with its sockets in `directory`, until left. May be entered again: a restart."""

    @abstractmethod
    def report(self, device: str, health: Health, message: str) -> None:
        """Makes it so that the driver finds `device` in this health."""


class DriverClaims:
    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.fixture
    async def kubelet(self, short: Path, subject: Subject) -> AsyncIterator[FakeKubelet]:
        async with FakeKubelet(short) as kubelet, subject.serving(short):
            yield kubelet

    @pytest.fixture
    async def info(self, kubelet: FakeKubelet, subject: Subject) -> PluginInfo:
        return await kubelet.registered(subject.name)

    @pytest.fixture
    async def client(self, info: PluginInfo) -> AsyncIterator[PluginClient]:
        async with PluginClient(info.endpoint) as client:
            yield client

    # --- registration (CONTRACT §1)

    async def test_it_registers_as_a_dra_driver_with_an_absolute_endpoint(self, subject: Subject, short: Path, info: PluginInfo) -> None:
        assert (info.type, info.name) == (PLUGIN_TYPE, subject.name)
        assert Path(info.endpoint).is_absolute()
        assert info.endpoint in sockets_in(short)

    async def test_it_lists_services_by_the_names_kubelets_know_and_none_twice(self, info: PluginInfo) -> None:
        assert set(info.supported_versions) <= set(ALL_VERSIONS)
        assert len(set(info.supported_versions)) == len(info.supported_versions)
        assert set(info.supported_versions) & set(DRA_VERSIONS)
        assert set(info.supported_versions) & set(HEALTH_VERSIONS)

    async def test_its_sockets_are_where_kubelets_look_and_short_enough(self, subject: Subject, short: Path, info: PluginInfo) -> None:
        (registration,) = (short / "plugins_registry").iterdir()
        name = re.escape(subject.name)
        assert re.fullmatch(rf"{name}(-[A-Za-z0-9-]+)?-reg\.sock", registration.name)
        assert re.fullmatch(rf"{re.escape(str(short))}/plugins/{name}/dra(-[A-Za-z0-9-]+)?\.sock", info.endpoint)
        for path in (registration, Path(info.endpoint)):
            assert len(os.fsencode(path)) <= LONGEST_PATH
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, f"{path} can be opened by others"

    async def test_it_is_found_again_by_a_kubelet_that_restarted(self, subject: Subject, kubelet: FakeKubelet, info: PluginInfo) -> None:
        await kubelet.restart()
        assert await kubelet.registered(subject.name) == info
        await kubelet.sees(f"{subject.pool}/{subject.devices[0]}", Health.HEALTHY)

    async def test_it_takes_its_sockets_with_it_and_comes_back(self, subject: Subject, short: Path) -> None:
        async with FakeKubelet(short) as kubelet:
            for _ in range(2):
                async with subject.serving(short):
                    await kubelet.sees(subject.devices[1], Health.HEALTHY)
                await kubelet.gone(subject.name)
                assert not sockets_in(short)

    # --- prepare and unprepare (CONTRACT §2)

    @pytest.mark.parametrize("version", DRA_VERSIONS)
    async def test_each_version_listed_is_served_and_no_other(self, info: PluginInfo, client: PluginClient, version: str) -> None:
        if version in info.supported_versions:
            assert await client.prepare(version, []) == {}
        else:
            with pytest.raises(PluginUnimplemented):
                await client.prepare(version, [])

    async def test_a_call_without_claims_asks_whether_it_is_alive(self, subject: Subject, kubelet: FakeKubelet) -> None:
        assert await kubelet.prepare(subject.name) == {}
        assert await kubelet.unprepare(subject.name) == {}

    async def test_a_prepared_claim_names_its_devices_and_their_cdi_ids(self, subject: Subject, kubelet: FakeKubelet) -> None:
        (device,) = (await kubelet.prepare(subject.name, subject.claim))[subject.claim.uid].devices
        assert (device.pool_name, device.device_name) == (subject.pool, subject.devices[0])
        assert device.request_names in ((), (subject.request,))
        assert device.cdi_device_ids
        assert all(_CDI_ID.fullmatch(cdi) for cdi in device.cdi_device_ids)

    async def test_prepare_can_be_repeated_even_at_the_same_time(self, subject: Subject, kubelet: FakeKubelet) -> None:
        first = await kubelet.prepare(subject.name, subject.claim)
        assert not first[subject.claim.uid].error
        assert await asyncio.gather(*(kubelet.prepare(subject.name, subject.claim) for _ in range(3))) == [first] * 3

    async def test_a_claim_stays_prepared_across_a_restart_of_the_driver(self, subject: Subject, short: Path) -> None:
        answers = []
        async with FakeKubelet(short) as kubelet:
            for _ in range(2):
                async with subject.serving(short):
                    answers.append(await kubelet.prepare(subject.name, subject.claim))
                await kubelet.gone(subject.name)
            assert answers[0] == answers[1]
            async with subject.serving(short):
                assert await kubelet.unprepare(subject.name, subject.claim) == {subject.claim.uid: ""}

    async def test_unprepare_can_be_repeated_and_meets_claims_it_never_saw(self, subject: Subject, kubelet: FakeKubelet) -> None:
        strange = ClaimRef("ml", "00000000-0000-4000-8000-00000000000f", "never-prepared")
        await kubelet.prepare(subject.name, subject.claim)
        for _ in range(2):
            assert await kubelet.unprepare(subject.name, subject.claim, strange) == {subject.claim.uid: "", strange.uid: ""}

    async def test_every_claim_asked_for_has_an_entry(self, subject: Subject, kubelet: FakeKubelet) -> None:
        claims = [subject.claim, *(ClaimRef("ml", f"00000000-0000-4000-8000-{number:012}", f"c{number}") for number in range(20))]
        assert set(await kubelet.prepare(subject.name, *claims)) == {claim.uid for claim in claims}
        assert set(await kubelet.unprepare(subject.name, *claims)) == {claim.uid for claim in claims}

    # --- health (CONTRACT §3)

    @pytest.mark.parametrize("version", HEALTH_VERSIONS)
    async def test_each_health_version_listed_is_served_and_no_other(self, info: PluginInfo, client: PluginClient, version: str) -> None:
        async with aclosing(client.watch_health(version)) as reports:
            if version in info.supported_versions:
                async with asyncio.timeout(AT_ONCE):
                    await anext(reports)
            else:
                with pytest.raises(PluginUnimplemented):
                    await anext(reports)

    async def test_every_watcher_is_told_everything_at_once_and_each_change(self, subject: Subject, info: PluginInfo) -> None:
        """Two on one connection, one on another, of every version: a kubelet, an agent beside it, and the next kubelet."""
        versions = [version for version in HEALTH_VERSIONS if version in info.supported_versions]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(PluginClient(info.endpoint)) for _ in range(2)]
            watches = [
                await stack.enter_async_context(watching(client, version)) for version in versions for client in (*clients, clients[0])
            ]
            for watch in watches:
                async with asyncio.timeout(AT_ONCE):
                    first = await watch.until(lambda seen: len(seen) == 2)
                assert {name: report.health for name, report in first.items()} == dict.fromkeys(subject.devices, Health.HEALTHY)
                assert {report.pool for report in first.values()} == {subject.pool}
            subject.report(subject.devices[1], Health.UNHEALTHY, "it smokes")
            for watch in watches:
                async with asyncio.timeout(AT_ONCE):
                    seen = await watch.until(lambda seen: seen[subject.devices[1]].health is Health.UNHEALTHY)
                assert seen[subject.devices[1]].message == "it smokes"
                assert seen[subject.devices[0]].health is Health.HEALTHY

    async def test_a_watcher_that_leaves_disturbs_no_other_and_a_late_one_hears_the_newest(
        self, subject: Subject, info: PluginInfo
    ) -> None:
        version = next(version for version in HEALTH_VERSIONS if version in info.supported_versions)
        async with PluginClient(info.endpoint) as client, watching(client, version) as stays:
            await stays.until(lambda seen: len(seen) == 2)
            async with PluginClient(info.endpoint) as other, watching(other, version) as leaves:
                await leaves.until(lambda seen: len(seen) == 2)
            subject.report(subject.devices[0], Health.UNKNOWN, "no answer")
            async with asyncio.timeout(AT_ONCE):
                await stays.until(lambda seen: seen[subject.devices[0]].health is Health.UNKNOWN)
            async with watching(client, version) as late, asyncio.timeout(AT_ONCE):
                seen = await late.until(lambda seen: len(seen) == 2)
                assert seen[subject.devices[0]].message == "no answer"

    async def test_calls_are_answered_while_health_is_watched_on_the_same_connection(
        self, subject: Subject, client: PluginClient, info: PluginInfo
    ) -> None:
        health = next(version for version in HEALTH_VERSIONS if version in info.supported_versions)
        dra = next(version for version in info.supported_versions if version in DRA_VERSIONS)
        async with watching(client, health) as watch:
            await watch.until(lambda seen: len(seen) == 2)
            result = (await client.prepare(dra, [subject.claim]))[subject.claim.uid]
            assert result.devices
            subject.report(subject.devices[0], Health.UNHEALTHY, "gone")
            async with asyncio.timeout(AT_ONCE):
                await watch.until(lambda seen: seen[subject.devices[0]].health is Health.UNHEALTHY)


class LiveDriverClaims(DriverClaims):
    """For a driver that reads hardware: its leases are short (1 s) here."""

    async def test_reports_are_renewed_well_within_the_lease_with_the_time_of_the_reading(
        self, subject: Subject, client: PluginClient, info: PluginInfo
    ) -> None:
        version = next(version for version in HEALTH_VERSIONS if version in info.supported_versions)
        async with watching(client, version) as watch:
            first = (await watch.until(lambda seen: len(seen) == 2))[subject.devices[0]]
            assert 0 < first.lease <= 5
            # Whole seconds on the wire: the time of the reading moves on with some report, not with each.
            async with asyncio.timeout(2 + 2 * first.lease):
                while watch.seen[subject.devices[0]].checked_at <= first.checked_at:
                    heard, reports = time.monotonic(), watch.reports
                    await watch.until(lambda _, reports=reports: watch.reports > reports)  # type: ignore[misc]
                    assert time.monotonic() - heard < first.lease
            assert watch.seen[subject.devices[0]].checked_at <= time.time() + 1

    async def test_a_claim_it_cannot_prepare_says_why_and_leaves_its_neighbour_alone(self, subject: Subject, kubelet: FakeKubelet) -> None:
        strange = ClaimRef("ml", "00000000-0000-4000-8000-00000000000e", "never-heard-of")
        answers = await kubelet.prepare(subject.name, strange, subject.claim)
        assert answers[strange.uid] == PrepareResult(error=answers[strange.uid].error)
        assert "ml/never-heard-of" in answers[strange.uid].error
        assert answers[subject.claim.uid].devices
        assert not answers[subject.claim.uid].error


def sockets_in(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob("*") if path.is_socket()]


class Watch:
    """One health stream and what it has said."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self.seen: dict[str, DeviceReport] = {}
        self.reports = 0

    async def until(self, true: Callable[[dict[str, DeviceReport]], bool]) -> dict[str, DeviceReport]:
        while not (self.reports and true(self.seen)):
            report = decode_report(await anext(self._stream))
            assert not report.refusals
            self.seen |= {device.device: device for device in report.devices}
            self.reports += 1
        return self.seen


@asynccontextmanager
async def watching(client: PluginClient, version: str) -> AsyncIterator[Watch]:
    async with aclosing(client.watch_health(version)) as stream:
        yield Watch(stream)
