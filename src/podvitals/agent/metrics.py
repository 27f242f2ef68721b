"""What /metrics shows, in a registry of its own. Counts by state; no series per device (4,096 of them cost 59 ms a scrape)."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from podvitals.device.health import Health
from podvitals.node.record import DeviceState
from podvitals.pod.outbox import Outcome

if TYPE_CHECKING:
    from prometheus_client import Metric

    from podvitals.node.watch import DriverView

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.changes = Counter("podvitals_device_changes", "Changes of a device's health, message or action", registry=self._registry)
        self.leases_ended = Counter(
            "podvitals_leases_ended", "Devices that became Unknown because nothing more was heard of them", registry=self._registry
        )
        self._patches = Histogram(
            "podvitals_patch_seconds", "Writes of pod status, by outcome", ["outcome"], buckets=_BUCKETS, registry=self._registry
        )
        self._api_errors = Counter("podvitals_api_errors", "Failed reads of the Kubernetes API", ["what"], registry=self._registry)

    def changed(self, states: Iterable[DeviceState]) -> None:
        """The states after a change."""
        for state in states:
            self.changes.inc()
            if state.deadline is None and state.health is Health.UNKNOWN:
                self.leases_ended.inc()

    def patched(self, outcome: Outcome, seconds: float) -> None:
        self._patches.labels(outcome.value).observe(seconds)

    def api_error(self, what: str) -> None:
        self._api_errors.labels(what).inc()

    def watch(self, live: "Live") -> None:
        self._registry.register(live)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class Live(Collector):
    """What is counted when it is asked for."""

    def __init__(
        self,
        states: Callable[[], Iterable[DeviceState]],
        drivers: "Callable[[], Iterable[DriverView]]",
        gauges: Callable[[], dict[str, tuple[str, float]]],
    ) -> None:
        self._states, self._drivers, self._gauges = states, drivers, gauges

    def collect(self) -> "Iterator[Metric]":
        tally = Tally(state.health for state in self._states())
        devices = GaugeMetricFamily("podvitals_devices", "Devices of this node, by health", labels=["health"])
        for health in Health:
            devices.add_metric([health.value], tally[health])
        yield devices
        yield from self._of_drivers()
        for name, (text, value) in self._gauges().items():
            yield GaugeMetricFamily(name, text, value=value)

    def _of_drivers(self) -> "Iterator[Metric]":
        reports = CounterMetricFamily("podvitals_reports", "Health reports taken", labels=["driver", "source"])
        refusals = CounterMetricFamily("podvitals_refusals", "What drivers said and was not taken", labels=["driver", "source", "reason"])
        connected = GaugeMetricFamily("podvitals_driver_connected", "Whether somebody speaks for the driver", labels=["driver", "source"])
        for (driver, source), views in _by_source(self._drivers()).items():
            reports.add_metric([driver, source], sum(view.reports for view in views))
            connected.add_metric([driver, source], any(view.connected for view in views))
            for reason, count in sum((Tally(view.refusals) for view in views), Tally()).items():
                refusals.add_metric([driver, source, reason], count)
        yield from (reports, refusals, connected)

    def describe(self) -> "Iterable[Metric]":
        return ()


def _by_source(views: "Iterable[DriverView]") -> "dict[tuple[str, str], list[DriverView]]":
    grouped: dict[tuple[str, str], list[DriverView]] = {}
    for view in views:
        grouped.setdefault((view.driver, view.source), []).append(view)
    return grouped
