"""A relay that is killed, a keeper that holds its sockets, and the relay after it."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from podvitals.cli.relay import NO_KEEPER, _page
from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.relay import keeper
from podvitals.relay.keeping import NAME as KEEPER
from podvitals.relay.keeping import Keeping, Kept, Left
from podvitals.relay.run import Relay
from podvitals.relay.state import metrics
from podvitals.testing.clock import ManualClock
from podvitals.testing.driver import FakeDriver
from podvitals.wire.client import PluginClient
from podvitals.wire.endpoint import is_live
from podvitals.wire.messages import DRA_V1, HEALTH_VERSIONS, ClaimRef, PrepareResult
from tests.relay.conftest import Node, becomes

NAME = "gpu.example.com"
CLAIM = ClaimRef("ml", "uid-1", "gpus")


@contextmanager
def keeping(node: Node) -> Iterator[subprocess.Popen[bytes]]:
    node.run_dir.mkdir(exist_ok=True, mode=0o700)
    flags = ["relay", "keep", "--run-dir", str(node.run_dir)]
    process = subprocess.Popen([sys.executable, "-m", "podvitals", *flags])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


async def found(node: Node) -> None:
    async with asyncio.timeout(10):
        while not (node.run_dir / KEEPER).is_socket():
            await asyncio.sleep(0.01)


def lies(path: str) -> bool:
    return os.path.lexists(path)


async def killed(relay: Relay) -> None:
    """As far as sockets go: every connection breaks, no file is removed, and what is left of its sockets is what a keeper has."""
    for front in relay.fronts.values():
        for servers in front._servers.values():
            await servers.registration.abandon()
            await servers.endpoint.abandon()
        front._servers.clear()
    relay._keeping.close()
    relay._keeping._path = Path("/nonexistent")  # it looks for a keeper no more, and gives it nothing


@asynccontextmanager
async def after_a_killed_one(node: Node) -> AsyncIterator[str]:
    """The endpoint the kubelet knows of a relay that was killed."""
    async with node.relay() as relay:
        async with node.kubelet() as kubelet:
            info = await kubelet.registered(NAME)
            async with asyncio.timeout(10):
                while relay._keeping._keeper is None or NAME not in relay.fronts or relay.fronts[NAME].standing.registered is None:
                    await asyncio.sleep(0.01)
        await killed(relay)
        yield info.endpoint


async def test_a_prepare_begun_while_no_relay_runs_waits_for_the_next_one(node: Node) -> None:
    with keeping(node):
        await found(node)
        async with FakeDriver(node.place, NAME), after_a_killed_one(node) as endpoint, PluginClient(endpoint) as kubelet:
            call = asyncio.create_task(kubelet.prepare(DRA_V1, [CLAIM]))
            await asyncio.sleep(0.05)
            assert not call.done()
            async with node.relay():
                assert await call == {"uid-1": PrepareResult()}


async def test_without_a_keeper_it_is_refused(node: Node) -> None:
    async with FakeDriver(node.place, NAME), node.relay() as relay, node.kubelet() as kubelet:
        info = await kubelet.registered(NAME)
        await killed(relay)
        assert not await asyncio.to_thread(is_live, info.endpoint)


async def test_the_next_relay_registers_anew_and_later_lets_go_of_what_it_inherited(node: Node) -> None:
    clock = ManualClock()
    with keeping(node):
        await found(node)
        async with FakeDriver(node.place, NAME) as driver, after_a_killed_one(node) as endpoint:
            driver.report({"g0": Health.UNHEALTHY})
            async with node.relay(clock) as relay, node.kubelet() as kubelet:
                await kubelet.sees("g0", Health.UNHEALTHY)
                await becomes(lambda: not lies(endpoint) and len(kubelet.registrations) == 1, clock)
                assert (await kubelet.registered(NAME)).endpoint != endpoint
                assert len(relay.fronts[NAME].standing.stand_ins) == 1
        assert [*(node.kubelet_place / "plugins_registry").iterdir()] == []
        assert [path.name for path in node.run_dir.iterdir()] == [KEEPER]


async def test_a_driver_that_does_not_come_back_is_withdrawn_as_ever(node: Node) -> None:
    clock = ManualClock()
    with keeping(node):
        await found(node)
        async with FakeDriver(node.place, NAME):
            left = after_a_killed_one(node)
            endpoint = await left.__aenter__()
        async with node.relay(clock) as relay:
            await becomes(lambda: NAME in relay.fronts, clock)
            assert await asyncio.to_thread(is_live, endpoint)
            await clock.advance(49.0)
            assert lies(endpoint)
            await becomes(lambda: not lies(endpoint), clock)
        await left.__aexit__(None, None, None)


async def test_what_a_bypassed_driver_left_is_taken_away(node: Node) -> None:
    with keeping(node):
        await found(node)
        async with FakeDriver(node.place, NAME), after_a_killed_one(node) as endpoint:
            await asyncio.to_thread(node.bypass.mark, [NAME])
            async with node.relay() as relay:
                await relay.node.ready.wait()
                assert relay.fronts == {}
                assert not lies(endpoint)


async def test_a_relay_that_ends_leaves_nothing_with_the_keeper(node: Node) -> None:
    with keeping(node):
        await found(node)
        async with FakeDriver(node.place, NAME), node.relay(), node.kubelet() as kubelet:
            await kubelet.registered(NAME)
        assert await taken(node) == []


async def test_a_look_for_a_keeper_that_is_given_up_leaves_no_socket_open(node: Node) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # so that what comes after it is known to
    with keeping(node):
        await found(node)
        looking = asyncio.create_task(Keeping(node.run_dir, SYSTEM).run())
        await asyncio.sleep(0)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await asyncio.to_thread(gc.collect)  # of a socket that is left, a ResourceWarning is the error


async def taken(node: Node) -> list[Kept]:
    """What a relay that starts now is given. It ends at once."""
    ours = Keeping(node.run_dir, SYSTEM)
    left = await ours.take()
    for one in left:
        one.registration.close()
        one.endpoint.close()
    ours.close()
    return [one.kept for one in left]


def gauge(relay: Relay) -> float:
    (line,) = [line for line in metrics(relay.state()).decode().splitlines() if line.startswith("podvitals_relay_keeper ")]
    return float(line.split()[1])


async def test_whether_a_keeper_is_there_can_be_seen_from_the_relay(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock) as relay:
        await relay.node.ready.wait()
        assert (relay.state().keeper, gauge(relay)) == (False, 0.0)
        with keeping(node):
            await found(node)
            await becomes(lambda: relay.state().keeper, clock)
            assert gauge(relay) == 1.0
        await becomes(lambda: not relay.state().keeper, clock)
        assert gauge(relay) == 0.0


def test_a_person_who_asks_is_told_of_a_keeper_that_is_missing() -> None:
    said: dict[str, object] = {"waiting": [], "drivers": [], "pluginDir": "d"}
    asked = [_page({**said, "keeper": there}, 0.0, wide=False)[0] for there in (False, True)]
    assert asked == [NO_KEEPER, "A keeper holds its sockets."]
    # A relay that is not replaced yet may be older than who asks it.
    assert _page(said, 0.0, wide=False) == ["No driver is registered in d."]


async def test_the_next_keeper_waits_for_the_one_before_and_is_given_everything(node: Node) -> None:
    with keeping(node) as first:
        await found(node)
        async with FakeDriver(node.place, NAME), node.relay() as relay, node.kubelet() as kubelet:
            info = await kubelet.registered(NAME)
            before = relay._keeping._keeper
            with keeping(node):
                first.terminate()
                async with asyncio.timeout(20):
                    while relay._keeping._keeper in (None, before):
                        await asyncio.sleep(0.05)
                    relay._keeping.close()  # as if the relay died now
                    while not (kept := await taken(node)):
                        await asyncio.sleep(0.05)
                assert [(one.driver, one.endpoint) for one in kept] == [(NAME, info.endpoint)]
                assert set(kept[0].versions) >= set(HEALTH_VERSIONS)


class Alone:
    """A keeper in this process, one turn at a time."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / KEEPER
        mask = os.umask(0)
        self.keeper = keeper.Keeper(keeper.listen(str(self.path)))
        os.umask(mask)

    def relay(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(2)
        sock.connect(str(self.path))
        self.turn()
        return sock

    def turn(self) -> None:
        self.keeper.turn(1.0)


@pytest.fixture
def alone(node: Node) -> Iterator[Alone]:
    node.run_dir.mkdir()
    made = Alone(node.run_dir)
    yield made
    made.keeper.listening.close()
    for sock in made.keeper.relays:
        sock.close()
    for held in made.keeper.held.values():
        held.close()


def numbers() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_keeper_gives_only_what_has_lost_its_relay_and_only_once(alone: Alone) -> None:
    one, other, pipe = alone.relay(), alone.relay(), os.pipe()
    socket.send_fds(one, [b"keep\na b\ntext"], pipe)
    alone.turn()
    for relay in (one, other):
        relay.send(b"take")
        alone.turn()
        assert relay.recv(100) == b"end"
    one.close()
    alone.turn()
    for expected in ([b"kept\na b\ntext", b"end"], [b"end"]):
        other.send(b"take")
        alone.turn()
        for words in expected:
            got, given, _, _ = socket.recv_fds(other, 100, 2)
            assert got == words
            for number in given:
                os.close(number)
    other.close()
    for number in pipe:
        os.close(number)


@pytest.mark.parametrize("said", [b"keep\nx\ny", b"nonsense", b"\xff\n\n", b"forget\nnobody", b"keep"])
def test_a_keeper_keeps_nothing_open_of_what_it_does_not_understand(alone: Alone, said: bytes) -> None:
    before, relay, one = numbers(), alone.relay(), os.open("/dev/null", os.O_RDONLY)
    socket.send_fds(relay, [said], [one])
    alone.turn()
    os.close(one)
    relay.close()
    alone.turn()
    assert numbers() == before
    assert alone.keeper.held == {}


def test_what_nobody_asks_for_is_let_go_of_after_a_while(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, pipe = alone.relay(), os.pipe()
    socket.send_fds(relay, [b"keep\nx\ny"], pipe)
    alone.turn()
    relay.close()
    alone.turn()
    (held,) = alone.keeper.held.values()
    held.since -= keeper.LONGEST - 5
    alone.keeper.turn(0.0)
    assert alone.keeper.held
    held.since -= 6
    alone.keeper.turn(0.0)
    assert not alone.keeper.held
    for number in pipe:
        os.close(number)


async def test_a_keeper_that_hangs_holds_up_nobody(alone: Alone) -> None:
    """It never takes its turn."""
    ours = Keeping(alone.path.parent, SYSTEM)
    run = asyncio.create_task(ours.run())
    async with asyncio.timeout(5):
        while ours._keeper is None:
            await asyncio.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for number in range(2000):
            ours.keep(Left(Kept(NAME, (), f"r{number}", f"e{number}"), one, two))
        found = ours._keeper
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert found is None


def test_a_keeper_is_small(node: Node) -> None:
    with keeping(node) as process:
        while not (node.run_dir / KEEPER).is_socket():
            assert process.poll() is None
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        assert int(rollup.split("Anonymous:")[1].split()[0]) < 6 * 1024
