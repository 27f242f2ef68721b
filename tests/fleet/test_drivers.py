"""Who speaks for each driver, in words an on-call reads at a glance."""

import msgspec
import pytest

from podvitals.claim.meta import ObjectMeta
from podvitals.claim.resource import Pool, ResourceSlice, ResourceSliceSpec, SliceDevice
from podvitals.cli.agents import AgentStates
from podvitals.cli.documents import driver_document
from podvitals.cli.tables import drivers_table
from podvitals.fleet.drivers import DriverView, Voice, with_published
from podvitals.fleet.inventory import Agents, AgentView
from podvitals.pod.entry import moment
from tests.fleet.pods import DRIVER, NODE, NOW

ENDPOINT = {"driver": DRIVER, "endpoint": "/run/new.sock", "connected": True, "speaks": True, "healthVersion": "v1.DRAResourceHealth"}


def told(*drivers: dict[str, object]) -> list[DriverView]:
    """What an agent's /state says of drivers, as a reader takes it."""
    states = AgentStates()
    states.add(msgspec.json.encode({"node": NODE, "drivers": [ENDPOINT | driver for driver in drivers]}))
    return states.drivers


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, "speaks"),
        ({"devices": 8, "smallestLeaseSeconds": 15.0}, "speaks"),
        ({"devices": 8, "smallestLeaseSeconds": None}, "silent: its leases have ended"),
        ({"speaks": False}, "connected, no report yet"),
        ({"speaks": False, "healthVersion": ""}, "reports no health"),
        ({"connected": False, "speaks": False, "trouble": "connection refused"}, "not connected: connection refused"),
        ({"connected": False, "speaks": False}, "not connected"),
        ({"left": True, "connected": False, "speaks": False}, "left to the kubelet"),
    ],
)
def test_a_driver_says_what_it_is(said: dict[str, object], state: str) -> None:
    (view,) = told(said)
    assert view.state == state


def test_in_a_rolling_update_one_endpoint_speaks_and_the_other_stands_by() -> None:
    old, new = told({"endpoint": "/run/old.sock", "speaks": False}, {})
    assert (old.voice, new.voice) == (Voice.STANDBY, Voice.SPEAKS)


def test_another_source_does_not_make_the_driver_itself_a_standby() -> None:
    driver, source = told({"speaks": False}, {"source": "dcgm", "endpoint": "/run/dcgm.sock"})
    assert (driver.voice, source.voice) == (Voice.NOTHING_YET, Voice.SPEAKS)


def test_the_table_tells_who_speaks_since_when_and_what_was_refused() -> None:
    said = {
        "since": moment(NOW - 300),
        "lastReport": moment(NOW - 4),
        "devices": 8,
        "smallestLeaseSeconds": 15.0,
        "refusals": {"entry": 3, "too large": 1},
    }
    views = told(said, {"source": "dcgm", "endpoint": "/run/dcgm.sock", "lastReport": None})
    header, itself, source = drivers_table(views, NOW).lines()
    assert header.split() == ["DRIVER", "NODE", "SOURCE", "STATE", "SINCE", "LAST", "REPORT", "DEVICES", "LEASE", "REFUSALS"]
    assert " ".join(itself.split()) == f"{DRIVER} {NODE} itself speaks 5m 4s ago 8 15s 3 entry, 1 too large"
    assert " ".join(source.split()) == f"{DRIVER} {NODE} dcgm speaks - never 0 - none"
    assert "/run/new.sock" in drivers_table(views, NOW).lines(wide=True)[1]
    document = driver_document(views[0])
    assert (document["state"], document["refusals"], document["smallestLeaseSeconds"]) == ("speaks", {"entry": 3, "too large": 1}, 15.0)


def test_of_a_driver_no_agent_told_the_reason_is_told() -> None:
    slices = [
        ResourceSlice(
            metadata=ObjectMeta(name=node),
            spec=ResourceSliceSpec(driver=DRIVER, pool=Pool(name=node), node_name=node, devices=(SliceDevice(name="gpu-0"),)),
        )
        for node in ("alive", "silent", "none")
    ]
    agents = Agents([AgentView("alive", NOW), AgentView("silent", NOW - 100)])
    views = {view.node: view for view in with_published([], slices, agents, NOW)}
    assert {node: view.state for node, view in views.items()} == {"alive": "agent not asked", "silent": "agent silent", "none": "no agent"}
    assert all(not view.voice.well and view.devices == 1 for view in views.values())


def test_a_reader_who_may_not_see_leases_does_not_read_that_there_is_no_agent() -> None:
    spec = ResourceSliceSpec(driver=DRIVER, pool=Pool(name=NODE), node_name=NODE, devices=(SliceDevice(name="gpu-0"),))
    (view,) = with_published([], [ResourceSlice(metadata=ObjectMeta(name="s"), spec=spec)], Agents(hidden=True), NOW)
    assert view.state == "agent not asked"
