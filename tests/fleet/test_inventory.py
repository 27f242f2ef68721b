"""What a reader may believe: the agent while it lives, the kubelet's field without one, never a stale Healthy."""

from datetime import UTC

import msgspec
import pytest

from podvitals.claim.cluster import Lease, LeaseSpec
from podvitals.claim.meta import ObjectMeta, OwnerReference
from podvitals.claim.pod import ClaimStatus
from podvitals.claim.resource import (
    AllocationResult,
    DeviceAllocation,
    DeviceResult,
    Pool,
    ResourceClaim,
    ResourceClaimStatus,
    ResourceSlice,
    ResourceSliceSpec,
    SliceDevice,
)
from podvitals.claim.times import rfc3339
from podvitals.cli.device_page import device_page
from podvitals.cli.pod_page import Reader
from podvitals.cli.tables import devices_table, nodes_table
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.devices import Reported, device_views, node_views, silenced, with_silence
from podvitals.fleet.inventory import AGENT_SILENT_AFTER, UNTOLD, Agents, AgentView, Source, agent_view, pod_view
from podvitals.pod.agreement import Agreement
from podvitals.pod.cause import Verdict
from podvitals.pod.entry import PodDevices
from tests.fleet.pods import DRIVER, NODE, NOW, at, condition, entry, field, pod

ALIVE, SILENT = AgentView(NODE, NOW - 4), AgentView(NODE, NOW - AGENT_SILENT_AFTER - 1)
BROKEN = entry("gpu-0", Health.UNHEALTHY, "Xid 79: GPU has fallen off the bus", -360, action="power-cycle")


def test_a_live_agents_word_is_taken_as_it_stands() -> None:
    view = pod_view(pod(BROKEN, entry("gpu-1")), ALIVE, NOW)
    assert (view.source, view.silent, view.health) == (Source.AGENT, False, Health.UNHEALTHY)
    assert (view.count(), view.count(Health.UNHEALTHY)) == (2, 1)


def test_a_condition_that_is_newer_than_the_annotation_is_believed() -> None:
    ill = pod_view(pod(entry("gpu-0"), condition=condition("False", "1 of 1 device unhealthy")), ALIVE, NOW)
    assert (ill.health, ill.newer and ill.newer.message) == (Health.UNHEALTHY, "1 of 1 device unhealthy")
    mended = pod_view(pod(BROKEN, condition=condition("True")), ALIVE, NOW)
    assert mended.health is Health.HEALTHY
    assert pod_view(pod(BROKEN, condition=condition("False")), ALIVE, NOW).newer is None
    assert pod_view(pod(BROKEN, condition=condition("True")), SILENT, NOW).health is Health.UNKNOWN


def test_a_silent_agent_makes_every_device_unknown_and_says_what_was_last_known() -> None:
    view = pod_view(pod(BROKEN, entry("gpu-1")), SILENT, NOW, say=lambda _: "12:08:23")
    assert {e.health for e in view.entries} == {Health.UNKNOWN}
    assert view.entries[0].message == f"agent on {NODE} silent since 12:08:23; last known: Unhealthy: Xid 79: GPU has fallen off the bus"
    assert view.entries[1].message.endswith("last known: Healthy")


def test_an_agent_is_silent_only_after_forty_seconds_and_truth_returns_with_it() -> None:
    assert not pod_view(pod(BROKEN), AgentView(NODE, NOW - AGENT_SILENT_AFTER), NOW).silent
    assert pod_view(pod(BROKEN), SILENT, NOW).silent
    assert not pod_view(pod(BROKEN), AgentView(NODE, NOW), NOW).silent


def test_an_agent_that_left_no_lease_is_silent_and_one_we_may_not_see_is_taken_at_its_word() -> None:
    assert pod_view(pod(entry("gpu-0")), AgentView(NODE, None), NOW).health is Health.UNKNOWN
    assert pod_view(pod(entry("gpu-0")), AgentView(NODE, None, hidden=True), NOW).health is Health.HEALTHY


def test_what_was_written_of_an_ended_pod_stays_true_although_the_agent_is_silent() -> None:
    view = pod_view(pod(BROKEN, phase="Failed", exit_code=139), SILENT, NOW)
    assert (view.health, view.silent, view.agreement) == (Health.UNHEALTHY, False, Agreement.ENDED)


def test_a_silent_agent_does_not_take_away_what_explained_the_crash() -> None:
    view = pod_view(pod(BROKEN, exit_code=139), SILENT, NOW)
    assert [cause.verdict for cause in view.causes] == [Verdict.EXPLAINED]


def test_without_an_agent_the_kubelets_field_is_shown_and_traced_by_its_resource_ids() -> None:
    view = pod_view(pod(field=field(Health.HEALTHY, Health.UNHEALTHY)), AgentView(NODE, None), NOW)
    assert (view.source, view.health) == (Source.KUBELET, Health.UNHEALTHY)
    assert [e.device for e in view.entries] == [f"{DRIVER}/{NODE}/gpu-1", f"{DRIVER}/{NODE}/gpu-0"]


def test_a_healthy_that_the_kubelet_tells_of_two_devices_at_once_is_not_believed() -> None:
    subject = pod(field=field(Health.HEALTHY))
    subject = msgspec.structs.replace(subject, status=msgspec.structs.replace(subject.status, resource_claim_statuses=(GENERATED,)))
    assert pod_view(subject, AgentView(NODE, None), NOW, {"gpus-x": claim("gpu-0")}).health is Health.HEALTHY
    assert pod_view(subject, AgentView(NODE, None), NOW, {"gpus-x": claim("gpu-0", "gpu-1")}).health is Health.UNKNOWN


def test_a_damaged_annotation_is_said_and_the_field_is_used() -> None:
    view = pod_view(pod(field=field(Health.HEALTHY), annotation='{"devices": 7}'), ALIVE, NOW)
    assert (view.source, view.health) == (Source.KUBELET, Health.HEALTHY)
    assert "ml/trainer-0" in view.trouble


def test_nobody_knows_anything_of_a_pod_without_annotation_and_field() -> None:
    view = pod_view(pod(), AgentView(NODE, None), NOW)
    assert (view.source, view.health, view.count()) == (Source.NOBODY, None, 0)


def test_a_kubelet_that_is_late_is_told() -> None:
    agreeing = pod_view(pod(BROKEN, field=field(Health.UNHEALTHY)), ALIVE, NOW)
    late = pod_view(pod(BROKEN, field=field(Health.HEALTHY)), ALIVE, NOW)
    assert agreeing.agreement is Agreement.AGREES
    assert (late.agreement, late.difference) == (
        Agreement.DIFFERS,
        "claim:gpus of container train: it says Healthy, the agent Unhealthy",
    )
    assert pod_view(pod(BROKEN), ALIVE, NOW).agreement is Agreement.SILENT


GENERATED = ClaimStatus(name="gpus", resource_claim_name="gpus-x")


def claim(*devices: str) -> ResourceClaim:
    owner = OwnerReference(kind="Pod", name="trainer-0", uid="u1", controller=True)
    results = tuple(DeviceResult(request="gpu", driver=DRIVER, pool=NODE, device=device) for device in devices)
    allocation = AllocationResult(devices=DeviceAllocation(results=results))
    meta = ObjectMeta(name="gpus-x", namespace="ml", owner_references=(owner,))
    return ResourceClaim(metadata=meta, status=ResourceClaimStatus(allocation=allocation))


def published(*names: str) -> ResourceSlice:
    spec = ResourceSliceSpec(driver=DRIVER, pool=Pool(name=NODE), node_name=NODE, devices=tuple(SliceDevice(name=name) for name in names))
    return ResourceSlice(metadata=ObjectMeta(name="s"), spec=spec)


def test_devices_are_those_published_held_or_reported_the_worst_first() -> None:
    held = pod_view(pod(BROKEN), ALIVE, NOW)
    reported = {DeviceKey(DRIVER, NODE, "gpu-8"): Reported(NODE, Health.UNKNOWN, "driver silent", since=NOW)}
    views = device_views([published("gpu-0", "gpu-7")], [held], reported)
    assert [(v.key.device, v.health, v.published) for v in views] == [
        ("gpu-0", Health.UNHEALTHY, True),
        ("gpu-7", None, True),
        ("gpu-8", Health.UNKNOWN, False),
    ]
    assert views[0].holders == ("ml/trainer-0 (train)",)
    (node,) = node_views([], Agents([ALIVE]), views, [held])
    assert (node.devices, node.broken, node.unknown, node.affected) == (3, 1, 2, 1)


def test_of_a_silent_agents_devices_only_what_was_last_known_is_said() -> None:
    key = DeviceKey(DRIVER, NODE, "gpu-8")
    reported = {key: Reported(NODE, Health.HEALTHY)}
    assert silenced(reported, {NODE: ALIVE}, NOW) == reported
    assert silenced(reported, {"another": SILENT}, NOW) == reported
    told = silenced(reported, {NODE: SILENT}, NOW, lambda _: "12:08:23")[key]
    assert (told.health, told.message) == (Health.UNKNOWN, f"agent on {NODE} silent since 12:08:23; last known: Healthy")


def test_a_silent_agent_is_named_for_devices_that_nobody_holds_too() -> None:
    views = device_views([published("gpu-0", "gpu-7")], [pod_view(pod(entry("gpu-0")), SILENT, NOW, say=lambda _: "12:08:23")], {})
    held, free = with_silence(views, {NODE: SILENT}, NOW, lambda _: "12:08:23")
    assert held.message == f"agent on {NODE} silent since 12:08:23; last known: Healthy"
    assert (free.health, free.message, free.since) == (Health.UNKNOWN, f"agent on {NODE} silent since 12:08:23", held.since)
    for agents in ({NODE: ALIVE}, {NODE: AgentView(NODE, None)}, {}):
        assert with_silence(views, agents, NOW) == views, "nobody says, and no agent owes an answer"


def test_a_device_an_ended_pod_held_is_held_by_nobody() -> None:
    ended = pod_view(pod(BROKEN, phase="Failed"), ALIVE, NOW)
    (view,) = device_views([published("gpu-0")], [ended], {})
    assert (view.health, view.holders) == (None, ())


def untold(uid: str) -> AgentView:
    return AgentView(NODE, NOW - 4, untold={uid: NOW - 60})


def test_a_pod_that_its_agent_could_not_write_is_unknown_and_its_neighbours_are_not() -> None:
    view = pod_view(pod(entry("gpu-0"), condition=condition("True")), untold("u1"), NOW, say=lambda _: "12:08:04")
    assert (view.health, view.silent, view.untold) == (Health.UNKNOWN, False, NOW - 60)
    assert view.entries[0].message == f"agent on {NODE} could not write this pod since 12:08:04; last known: Healthy"
    assert pod_view(pod(entry("gpu-0")), untold("another"), NOW).health is Health.HEALTHY
    assert pod_view(pod(BROKEN, phase="Failed"), untold("u1"), NOW).health is Health.UNHEALTHY


def test_only_the_pod_itself_says_that_it_ended_whatever_its_annotation_claims() -> None:
    claimed = PodDevices(NODE, "0.1.0", (entry("gpu-0"),), ended=at(-5000)).encode()
    view = pod_view(pod(annotation=claimed), SILENT, NOW)
    assert (view.health, view.ended, view.silent) == (Health.UNKNOWN, False, True)


def test_a_lease_from_the_future_is_no_sign_of_life() -> None:
    assert pod_view(pod(entry("gpu-0")), AgentView(NODE, NOW + 3600), NOW).health is Health.UNKNOWN
    assert pod_view(pod(entry("gpu-0")), AgentView(NODE, NOW + 2), NOW).health is Health.HEALTHY


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"u1": 7}', '{"u1": "soon"}'])
def test_a_damaged_list_of_untold_pods_stops_no_reader(text: str) -> None:
    lease = Lease(metadata=ObjectMeta(annotations={UNTOLD: text}), spec=LeaseSpec(renew_time=rfc3339(NOW)))
    assert agent_view(NODE, lease).alive(NOW)


def test_what_a_reader_may_not_see_is_not_told_as_nothing() -> None:
    views = device_views([published("gpu-0")], None, {DeviceKey(DRIVER, NODE, "gpu-8"): Reported(NODE, Health.UNHEALTHY, "Xid 79")})
    assert [view.holders for view in views] == [None, None]
    (node,) = node_views([], Agents(hidden=True), views, None)
    assert (node.agent.hidden, node.affected) == (True, None)
    assert nodes_table([node], NOW).rows == [(NODE, "", "may not see", "2", "1", "1", "may not see", DRIVER)]
    assert [row[4] for row in devices_table(views, NOW).rows] == ["may not see"] * 2
    assert "Held by  cannot be told: the pods may not be read" in "\n".join(device_page(views[0], [], Reader(NOW, UTC)))
