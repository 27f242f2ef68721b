"""Each alert rule of deploy/, evaluated by Prometheus on what agent and relay really answer: it fires when it should, and not before.

Needs Go, no root and no cluster. What is wrong is put into the real text as another value of a series that must be there.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.relay.state import metrics
from podvitals.testing.driver import FakeDriver
from tests.agent.cluster import DRIVER, reports
from tests.agent.cluster import Cluster as Lab
from tests.cluster.alerts import Alerts, Phase, Target, cached
from tests.relay.conftest import Node

QUIET = 1800
"""Seconds after which nothing is left of what was."""
NODE = {"node": "node1"}
Broken = Callable[[str], tuple[Target, ...]]


@pytest.fixture(scope="module", autouse=True)
def needs_go() -> None:
    if not cached().exists() and shutil.which("go") is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("the tests of the alert rules need Go 1.26 or newer (Prometheus is built from source)")


def having(text: str, series: str, value: float) -> str:
    """The text with another value of this series, which is there once."""
    changed, times = re.subn(rf"^{re.escape(series)} \S+$", f"{series} {value:g}", text, flags=re.MULTILINE)
    assert times == 1, f"{series} is in the text {times} times"
    return changed


def beside(daemons: str, unavailable: int = 0) -> Target:
    """kube-state-metrics, of the DaemonSet."""
    name = "kube_daemonset_status_number_unavailable"
    return Target(f'{name}{{namespace="kube-system",daemonset="{daemons}"}} {unavailable}\n', {"job": "kube-state-metrics"})


def broken(job: str) -> dict[str, Broken]:
    """What each process of ours may suffer as a whole, by the part of the alert's name that says so."""
    labels = {"job": job, **NODE}
    return {
        "Down": lambda _: (Target(None, labels), beside(job)),
        "Missing": lambda text: (Target(text, labels), beside(job, 1)),
        "Unwatched": lambda _: (beside(job),),
    }


def series(job: str, name: str, value: float) -> Broken:
    return lambda text: (Target(having(text, name, value), {"job": job, **NODE}), beside(job))


AGENT, RELAY = "podvitals-agent", "podvitals-relay"
OF_AGENT: dict[str, Broken] = {
    **{f"PodvitalsAgent{what}": how for what, how in broken(AGENT).items()},
    "PodvitalsDeviceUnhealthy": series(AGENT, 'podvitals_devices{health="Unhealthy"}', 2),
    "PodvitalsDeviceUnknown": series(AGENT, 'podvitals_devices{health="Unknown"}', 1),
    "PodvitalsDeviceNeedsAction": series(AGENT, 'podvitals_device_actions{action="power-cycle"}', 1),
    "PodvitalsDriverNotConnected": series(AGENT, f'podvitals_driver_connected{{driver="{DRIVER}",source=""}}', 0),
    "PodvitalsReportsRefused": series(AGENT, f'podvitals_refusals_total{{driver="{DRIVER}",reason="invalid entry",source=""}}', 7),
    "PodvitalsAgentNotReady": series(AGENT, "podvitals_ready", 0),
    "PodvitalsAgentLeaseNotRenewed": series(AGENT, "podvitals_lease_age_seconds", 45),
    "PodvitalsPodsUntold": series(AGENT, "podvitals_pods_untold", 3),
    "PodvitalsAgentWritesRefused": series(AGENT, 'podvitals_patch_seconds_count{outcome="denied"}', 4),
    "PodvitalsCheckpointFailing": series(AGENT, "podvitals_checkpoint_failing", 1),
}
OF_RELAY: dict[str, Broken] = {
    **{f"PodvitalsRelay{what}": how for what, how in broken(RELAY).items()},
    "PodvitalsRelayWithoutKeeper": series(RELAY, "podvitals_relay_keeper", 0),
    "PodvitalsRelayDriverNotRegistered": series(RELAY, f'podvitals_relay_registered{{driver="{DRIVER}"}}', 0),
    "PodvitalsRelayCallsHeldInVain": series(RELAY, f'podvitals_relay_calls_failed_total{{driver="{DRIVER}"}}', 1),
}


async def agents_text(path: Path) -> str:
    """Of an agent that does its work, and whose driver once said what cannot be taken."""
    async with ApiServer() as api, Client(ClusterConfig(api.url)) as client, FakeDriver(path, DRIVER) as driver:
        node = Lab(path, client)
        driver.report(reports(Health.HEALTHY))
        async with node.agent() as agent, asyncio.timeout(20):
            await node.pod("a", "gpu-0")
            await node.condition("a", "True")
            driver.report([*reports(Health.HEALTHY, device=""), *reports(Health.HEALTHY)])
            while True:
                text = (await agent.metrics.text()).decode()
                if 'reason="invalid entry"' in text and "podvitals_lease_age_seconds +Inf" not in text:
                    return text
                await asyncio.sleep(0.02)
    raise AssertionError


async def relays_text(path: Path) -> str:
    node = Node(path)
    async with node.relay() as relay, node.kubelet() as kubelet, FakeDriver(node.place, DRIVER) as driver:
        await kubelet.registered(DRIVER)
        await driver.called("NotifyRegistrationStatus")
        driver.report({"gpu-0": Health.HEALTHY})
        await kubelet.sees("gpu-0", Health.HEALTHY)
        return having(metrics(relay.state()).decode(), "podvitals_relay_keeper", 1)


def story(alerts: Alerts, name: str, targets: tuple[Target, ...], healthy: tuple[Target, ...]) -> list[set[str]]:
    """What fires: while all is well; when the alert's time has not come yet; when it has; and when all has been well again."""
    pending = 60 * int(alerts.rules()[name].get("for", "0m").removesuffix("m"))
    phases = [Phase(QUIET, healthy), Phase(pending, targets), Phase(60, targets), Phase(QUIET, healthy)]
    told = alerts.fire(phases)
    for one in told[2]:
        for text in one["annotations"].values():
            assert text
            assert "no value" not in text, f"{name}: {text}"
            assert "  " not in text, f"a label is empty in {name}: {text}"
            assert " on ;" not in text
    return [{one["labels"]["alertname"] for one in firing} for firing in told]


@pytest.mark.parametrize(("file", "job", "cases"), [("agent-alerts.yaml", AGENT, OF_AGENT), ("relay-alerts.yaml", RELAY, OF_RELAY)])
async def test_every_alert_fires_alone_when_what_it_names_has_lasted_and_never_else(file: str, job: str, cases: dict[str, Broken]) -> None:
    alerts = Alerts(file)
    assert set(cases) == set(alerts.rules()), "an alert that is not tried here"
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        (Path(directory) / "plugins_registry").mkdir(exist_ok=True)
        text = await (agents_text if job == AGENT else relays_text)(Path(directory))
    healthy = (Target(text, {"job": job, **NODE}), beside(job))
    for name, targets in cases.items():
        told = await asyncio.to_thread(story, alerts, name, targets(text), healthy)
        assert told == [set(), set(), {name}, set()], name


async def test_a_driver_that_said_for_the_first_time_what_cannot_be_taken_is_an_alert() -> None:
    """increase() of a series that was not there before is nothing."""
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        text = await agents_text(Path(directory))
    before = "\n".join(line for line in text.splitlines() if not line.startswith("podvitals_refusals_total{")) + "\n"
    labels = {"job": AGENT, **NODE}
    phases = [Phase(QUIET, (Target(one, labels), beside(AGENT))) for one in (before, before)]
    phases[1:] = [Phase(60, (Target(text, labels), beside(AGENT))), Phase(QUIET, (Target(text, labels), beside(AGENT)))]
    told = await asyncio.to_thread(Alerts("agent-alerts.yaml").fire, phases)
    assert [{one["labels"]["alertname"] for one in firing} for firing in told] == [set(), {"PodvitalsReportsRefused"}, set()]
