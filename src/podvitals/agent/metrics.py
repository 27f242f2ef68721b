"""What /metrics shows. Counts by state; no series per device (4,096 of them cost 59 ms a scrape).

Counting is integers; the library that writes Prometheus' format is loaded when somebody asks, since an agent that nobody scrapes should
not carry its 1.2 MB.
"""

import asyncio
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from podvitals import __version__
from podvitals.device.health import Health
from podvitals.device.verdict import ACTIONS
from podvitals.node.record import DeviceState
from podvitals.node.watch import DriverView
from podvitals.pod.outbox import Outcome

if TYPE_CHECKING:
    from prometheus_client import Metric

BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds a write of a pod's status took."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    text: str
    value: float


class _Times:
    """How long writes of one outcome took: counts per bucket (the last: longer than all), and their sum."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus counts."""
        total, counted = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            total += count
            counted.append((bound, float(total)))
        return counted


class Metrics:
    """`states`, `drivers` and `gauges` are asked when somebody asks."""

    def __init__(
        self,
        states: Callable[[], Iterable[DeviceState]],
        drivers: Callable[[], Iterable[DriverView]],
        gauges: Callable[[], Iterable[Gauge]],
    ) -> None:
        self._states, self._drivers, self._gauges = states, drivers, gauges
        self._changes = 0
        self._leases_ended = 0
        # All from the start: a counter that appears with its first count has no increase for Prometheus.
        self._patches = {outcome: _Times() for outcome in Outcome}
        self._api_errors: Tally[str] = Tally()

    def changed(self, states: Iterable[DeviceState]) -> None:
        """The states after a change."""
        for state in states:
            self._changes += 1
            self._leases_ended += state.deadline is None and state.health is Health.UNKNOWN and state.since > 0

    def patched(self, outcome: Outcome, seconds: float) -> None:
        self._patches[outcome].add(seconds)

    def api_error(self, what: str) -> None:
        self._api_errors[what] += 1

    async def text(self) -> bytes:
        """Prometheus' text format."""
        library = await asyncio.to_thread(import_module, "prometheus_client")
        registry = library.CollectorRegistry(auto_describe=False)
        registry.register(self)
        text: bytes = library.generate_latest(registry)
        return text

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily as Counts
        from prometheus_client.core import GaugeMetricFamily as Gauges
        from prometheus_client.core import HistogramMetricFamily as Histogram

        yield Counts("podvitals_device_changes", "Changes of a device's health, message or action", self._changes)
        yield Counts("podvitals_leases_ended", "Devices that became Unknown because nothing more was heard of them", self._leases_ended)
        errors = Counts("podvitals_api_errors", "Failed reads of the Kubernetes API", labels=["what"])
        for what, count in sorted(self._api_errors.items()):
            errors.add_metric([what], count)
        patches = Histogram("podvitals_patch_seconds", "Writes of pod status, by outcome", labels=["outcome"])
        for outcome, times in sorted(self._patches.items()):
            patches.add_metric([outcome.value], times.buckets(), times.seconds)
        tally = Tally(state.health for state in self._states())
        devices = Gauges("podvitals_devices", "Devices of this node, by health", labels=["health"])
        for health in Health:
            devices.add_metric([health.value], tally[health])
        build = Gauges("podvitals_build_info", "1, with the agent's version", labels=["version"])
        build.add_metric([__version__], 1)
        yield from (build, errors, patches, devices, self._actions())
        yield from self._of_drivers()
        for gauge in self._gauges():
            yield Gauges(gauge.name, gauge.text, gauge.value)

    def _actions(self) -> "Metric":
        """What drivers of others ask for in words of their own is one series, whatever they say."""
        from prometheus_client.core import GaugeMetricFamily as Gauges

        actions = Gauges(
            "podvitals_device_actions", "Devices of this node for which somebody has to do something, by what", labels=["action"]
        )
        asked = Tally(state.action if state.action in ACTIONS else OTHER for state in self._states() if state.action)
        for action in (*ACTIONS, OTHER):
            actions.add_metric([action], asked[action])
        return actions

    def _of_drivers(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily as Counts
        from prometheus_client.core import GaugeMetricFamily as Gauges

        reports = Counts("podvitals_reports", "Health reports taken", labels=["driver", "source"])
        refusals = Counts("podvitals_refusals", "What drivers said and was not taken", labels=["driver", "source", "reason"])
        connected = Gauges("podvitals_driver_connected", "Whether somebody speaks for the driver", labels=["driver", "source"])
        for (driver, source), views in _by_source(self._drivers()).items():
            reports.add_metric([driver, source], sum(view.reports for view in views))
            if not all(view.left for view in views):  # with those nobody is to speak
                connected.add_metric([driver, source], any(view.connected for view in views))
            for reason, count in sum((Tally(view.refusals) for view in views), Tally()).items():
                refusals.add_metric([driver, source, reason], count)
        yield from (reports, refusals, connected)


def _by_source(views: Iterable[DriverView]) -> dict[tuple[str, str], list[DriverView]]:
    grouped: dict[tuple[str, str], list[DriverView]] = {}
    for view in views:
        grouped.setdefault((view.driver, view.source), []).append(view)
    return grouped
