"""What the node side's cores take of a report once the wire has handed its bytes over: whose it is, what is new, until when it holds."""

import itertools
import time
from collections.abc import Callable, Iterator

from podvitals.device.health import Health
from podvitals.node.record import SourceKey
from podvitals.node.session import Event
from podvitals.node.switchboard import Switchboard
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import DeviceReport
from tests.bench.stats import Estimate, median, percentile
from tests.bench.table import Row

IDENTICAL, OTHERS = 50.0, 5.0
"""Goals: microseconds, milliseconds."""
RATE = 10.0


def measure(times: int, devices: int) -> list[Row]:
    kinds: dict[str, Callable[[int], bytes]] = {
        "identical": lambda _: _report(devices, 0),
        "only times new": lambda number: _report(devices, number),
        "times new and one device changed": lambda number: _report(devices, number, f"n={number}"),
    }
    return [_row(kind, devices, list(_taken(make, times))) for kind, make in kinds.items()]


def _taken(make: Callable[[int], bytes], times: int) -> Iterator[float]:
    """Milliseconds for each of a driver's reports, ten a second, on a node that knows its devices."""
    node, now = Switchboard(), itertools.count(1)
    node.register(1, SourceKey("bench.example.com"), "/dra.sock", 1, serves_health=True, now=0.0, wall=2e9)
    node.event(1, Event.CONNECT, 0.0, 2e9)
    for number in range(times + 2):
        at = next(now) / RATE
        # Bytes that were never seen, as they come from a socket: equal ones must be found out to be equal.
        raw = bytes(bytearray(make(number)))
        began = time.perf_counter()
        node.heard(1, raw, at, 2e9 + at)
        took = (time.perf_counter() - began) * 1000
        node.drain()
        if number >= 2:  # the first makes the devices known, the second is the first to repeat anything
            yield took


def _report(devices: int, number: int, message: str = "") -> bytes:
    checked = 1_000_000_000.0 + number
    said = [DeviceReport("node1", f"d{each}", Health.HEALTHY, checked, 30.0, "") for each in range(devices)]
    if message:
        said[0] = DeviceReport("node1", "d0", Health.UNHEALTHY, checked, 30.0, message)
    (raw,) = encode_report(said)
    return raw


def _row(kind: str, devices: int, milliseconds: list[float]) -> Row:
    what = f"of a report of {devices:,} devices, {kind}: the cores take"
    if kind == "identical":
        return _judged(what, "µs", [each * 1000 for each in milliseconds], IDENTICAL)
    return _judged(what, "ms", milliseconds, OTHERS)


def _judged(what: str, unit: str, values: list[float], limit: float) -> Row:
    found: Estimate = median(values)
    return Row("node", what, len(values), unit, found, p99=percentile(values, 0.99), goal=f"≤ {limit:g} {unit}", met=found.value <= limit)
