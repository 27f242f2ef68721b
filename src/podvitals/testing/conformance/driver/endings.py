"""What a driver must survive (CONTRACT §3): callers that go, stay away, or never were a kubelet."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from podvitals.testing.conformance.case import Cases, Failed
from podvitals.testing.conformance.driver.calls import prepare
from podvitals.testing.conformance.driver.listening import listening
from podvitals.testing.conformance.driver.observation import LONGEST_WAIT
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.frames import greeting, request
from podvitals.testing.conformance.line import Line, stranger
from podvitals.testing.conformance.rawreport import Garbled, read_report
from podvitals.wire.services import GET_INFO, watch_method
from podvitals.wire.stream import CallFailed, PeerLost, Stream

CASES: Cases[DriverSubject] = Cases()

_MANY = 25


async def _alive(driver: DriverSubject, after: str) -> None:
    """It answers at both sockets."""
    try:
        async with Line(await driver.endpoint()) as line:
            await prepare(driver, line)
        await driver.get_info()
    except Failed as failed:
        raise Failed(f"{after}: {failed.seen}") from None


@CASES.case(
    "cancelled-streams",
    "Streams that are cancelled leave the driver as it was.",
    "CONTRACT §3",
    do="end a stream's work when its context ends",
)
async def cancelled(driver: DriverSubject) -> str:
    version = await driver.health_version()
    async with driver.calling() as line:
        for _ in range(_MANY):
            (await line.watch(watch_method(version))).close()
        async with AsyncExitStack() as stack:
            listeners = [await stack.enter_async_context(listening(line, version)) for _ in range(_MANY)]
            await asyncio.gather(*(listener.heard(1.0) for listener in listeners))
        if line.lost:
            raise Failed(f"the connection was lost when {2 * _MANY} streams on it were cancelled")
        await prepare(driver, line)
    await _alive(driver, f"after {2 * _MANY} cancelled streams")
    return f"{2 * _MANY} streams on one connection, half of them before they were told anything"


@CASES.case(
    "half-made-calls",
    "Callers that go in the middle of a call leave the driver as it was.",
    "CONTRACT §3",
    do="leave half-made calls to the gRPC library, and limit how long one may last",
)
async def half_made(driver: DriverSubject) -> str:
    endpoint, loop = Path(await driver.endpoint()), asyncio.get_running_loop()
    methods = {endpoint: watch_method((await driver.info()).health[0]) if (await driver.info()).health else "/x/y", driver.socket: GET_INFO}
    waiting = []
    try:
        for path, method in methods.items():
            for bytes_sent in (b"", greeting(65535), greeting(65535) + request(method, whole=False)):
                waiting.append(half := stranger(path))
                await loop.sock_sendall(half, bytes_sent)
        await _alive(driver, f"while {len(waiting)} callers wait in the middle of a call")
    finally:
        for each in waiting:
            each.close()
    await _alive(driver, f"after {len(waiting)} callers went in the middle of a call")
    return f"{len(waiting)} callers, three at each socket"


@CASES.case(
    "garbage",
    "Bytes that are no HTTP/2 cost the connection they came on, and nothing else.",
    "CONTRACT §1",
    do="leave the connection to the gRPC library",
)
async def garbage(driver: DriverSubject) -> str:
    loop = asyncio.get_running_loop()
    for path in (driver.socket, Path(await driver.endpoint())):
        for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 16):
            with stranger(path) as other:
                await loop.sock_sendall(other, sent)
                await _alive(driver, f"while {path.name} was sent what is no HTTP/2")
    await _alive(driver, "after four connections that were no HTTP/2")
    return "four connections"


@CASES.case(
    "many-connections",
    "Observers may watch beside the kubelet: many connections at once are served.",
    "CONTRACT §3",
    do="do not limit connections to one",
)
async def many(driver: DriverSubject) -> str:
    endpoint = await driver.endpoint()
    lines = [Line(endpoint) for _ in range(_MANY)]
    try:
        await asyncio.gather(*(line.__aenter__() for line in lines))
        await asyncio.gather(*(prepare(driver, line) for line in lines))
    finally:
        await asyncio.gather(*(line.__aexit__(None, None, None) for line in lines))
    return f"{_MANY} connections"


@CASES.case(
    "reconnect",
    "After a lost connection a new stream is told the whole state again.",
    "CONTRACT §3",
    do="keep no state in the connection: a kubelet's restart is a lost connection and a new one",
)
async def reconnect(driver: DriverSubject) -> str:
    method = watch_method(await driver.health_version())
    known = {device.name for device in (await driver.observation()).first.devices().values()}
    for time in range(1, 4):
        async with driver.calling() as line:
            told = await _told(await line.watch(method), known, min(LONGEST_WAIT, driver.timeout))
        if missing := sorted(known - told):
            raise Failed(f"connection {time} was not told of {len(missing)} of {len(known)} devices, such as {missing[0]}")
    return f"three times, {len(known)} devices"


async def _told(stream: Stream, wanted: set[str], timeout: float) -> set[str]:
    """The devices a stream names, until it has named all that are wanted or the time is over."""
    told: set[str] = set()
    try:
        async with asyncio.timeout(timeout):
            while not wanted <= told and (raw := await stream.message()) is not None:
                told |= {device.name for device in read_report(raw)}
    except (TimeoutError, PeerLost, CallFailed, Garbled):
        pass
    finally:
        stream.close()
    return told
