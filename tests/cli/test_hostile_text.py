"""Nothing that a driver, a kubelet or whoever may create a pod wrote can drive the terminal of who reads it."""

import json
from datetime import UTC

import msgspec
import pytest

from podvitals.claim.meta import Condition
from podvitals.claim.pod import (
    AllocatedResourceStatus,
    ContainerState,
    ContainerStatus,
    Pod,
    ResourceHealth,
    Terminated,
    Waiting,
)
from podvitals.claim.times import rfc3339
from podvitals.cli.device_page import device_page
from podvitals.cli.documents import device_document, driver_document, pod_document
from podvitals.cli.output import encode
from podvitals.cli.pod_page import Reader, pod_page
from podvitals.cli.tables import devices_table, drivers_table, nodes_table, pods_table
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.devices import DeviceView, NodeView
from podvitals.fleet.drivers import DriverView, Voice
from podvitals.fleet.inventory import AgentView, PodView, pod_view
from podvitals.pod.entry import DeviceEntry, FaultEntry, PodDevices
from tests.fleet.pods import NODE, NOW, at, pod

EVIL = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2066 a\x00b\r\n\tc \u2028\u200f\x9b31m \ufeff"
ALIVE, NONE = AgentView(NODE, NOW - 4), AgentView(NODE, None)


def harmless(lines: list[str]) -> bool:
    return all(character.isprintable() for line in lines for character in line)


def entry(health: Health) -> DeviceEntry:
    fault = FaultEntry(health=Health.UNHEALTHY, message=EVIL, action=EVIL, start=at(-100))
    return DeviceEntry(
        "train",
        *DeviceKey(EVIL, EVIL, EVIL),
        health,
        entry=EVIL,
        claim=EVIL,
        claim_name=EVIL,
        request=EVIL,
        message=EVIL,
        action=EVIL,
        since=at(-100),
        faults=(fault,),
    )


def crashed() -> Pod:
    """A pod each of whose texts is hostile, by a kubelet as hostile as its author."""
    stop = Terminated(exit_code=1, reason=EVIL, message=EVIL, started_at=rfc3339(NOW - 200), finished_at=rfc3339(NOW - 50))
    state = ContainerState(waiting=Waiting(reason=EVIL, message=EVIL))
    resources = (ResourceHealth(resource_id=EVIL, health=EVIL, message=EVIL),)
    field = (AllocatedResourceStatus(name=f"claim:{EVIL}", resources=resources),)
    last = ContainerState(terminated=stop)
    status = ContainerStatus(name="train", restart_count=1, state=state, last_state=last, allocated_resources_status=field)
    made = pod(annotation=PodDevices(EVIL, EVIL, (entry(Health.UNHEALTHY), entry(Health.UNKNOWN))).encode())
    conditions = (Condition(type="podvitals.dev/DevicesHealthy", status="True", reason=EVIL, message=EVIL),)
    told = msgspec.structs.replace(made.status, reason=EVIL, message=EVIL, phase=EVIL, container_statuses=(status,), conditions=conditions)
    return msgspec.structs.replace(made, status=told)


def views() -> list[PodView]:
    whole = crashed()
    bare = msgspec.structs.replace(whole, metadata=msgspec.structs.replace(whole.metadata, annotations={}))
    damaged = msgspec.structs.replace(whole, metadata=msgspec.structs.replace(whole.metadata, annotations={"podvitals.dev/devices": EVIL}))
    untold = AgentView(NODE, NOW - 4, untold={"u1": NOW - 100})
    return [pod_view(one, agent, NOW) for one in (whole, bare, damaged) for agent in (ALIVE, NONE, untold)]


@pytest.mark.parametrize("number", range(9))
def test_the_page_of_a_pod_is_harmless(number: int) -> None:
    lines = pod_page(views()[number], Reader(NOW, UTC, all_devices=True))
    assert harmless([part for line in lines for part in line.split("\n")])


def test_the_page_of_a_device_is_harmless() -> None:
    fault = entry(Health.UNHEALTHY).faults
    view = DeviceView(DeviceKey(EVIL, EVIL, EVIL), EVIL, Health.UNHEALTHY, EVIL, EVIL, NOW, (EVIL,), True, {EVIL: EVIL}, fault, EVIL)
    assert harmless([part for line in device_page(view, [EVIL], Reader(NOW, UTC)) for part in line.split("\n")])
    assert harmless(devices_table([view], NOW).lines(wide=True))


def test_the_tables_are_harmless() -> None:
    driver = DriverView(EVIL, EVIL, Voice.GONE, 1, EVIL, EVIL, NOW, NOW, 1.0, (EVIL,), {EVIL: 1}, EVIL)
    node = NodeView(EVIL, True, ALIVE, (EVIL,), 1, 1, 1, 1)
    for table in (drivers_table([driver], NOW), nodes_table([node], NOW), pods_table(views(), NOW, all_namespaces=True)):
        assert harmless(table.lines(wide=True))


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_machines_get_is_harmless_on_a_terminal_too(form: str) -> None:
    view = DeviceView(DeviceKey(EVIL, EVIL, EVIL), EVIL, Health.UNHEALTHY, EVIL, EVIL, NOW, (EVIL,), True, {EVIL: EVIL}, (), EVIL)
    driver = DriverView(EVIL, EVIL, Voice.GONE, 1, EVIL, EVIL, NOW, NOW, 1.0, (EVIL,), {EVIL: 1}, EVIL)
    documents = [*map(pod_document, views()), device_document(view), driver_document(driver)]
    text = encode({"items": documents}, form)
    assert harmless(text.split("\n"))
    if form == "json":
        assert json.loads(text)["items"] == json.loads(json.dumps(documents))
