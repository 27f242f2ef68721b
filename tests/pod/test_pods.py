"""Pods of every kind and fate: which devices they are told of, and that it is never another's."""

import msgspec
import pytest

from podvitals.claim.holdings import holdings
from podvitals.claim.meta import ObjectMeta, OwnerReference
from podvitals.claim.pod import (
    ClaimReference,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ExtendedResourceClaimStatus,
    Pod,
    PodClaim,
    PodSpec,
    PodStatus,
    RequestMapping,
    Resources,
    Running,
    SchedulingGroup,
    Terminated,
    Waiting,
)
from podvitals.claim.resource import (
    AllocationResult,
    Consumer,
    DeviceAllocation,
    DeviceResult,
    ResourceClaim,
    ResourceClaimStatus,
)
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.cause import Verdict, causes
from podvitals.pod.entry import ANNOTATION, ANNOTATION_LIMIT
from tests.pod.make import START, holding, key, pod, state
from tests.pod.world import World


def a_pod(name: str, *containers: ContainerSpec, claims: tuple[str, ...] = ("gpus",), uid: str = "", **more: object) -> Pod:
    """A pod whose claims are ResourceClaims of the same names."""
    made = pod(name, uid)
    named = tuple(PodClaim(name=claim, resource_claim_name=claim) for claim in claims)
    spec = PodSpec(node_name="node-1", containers=containers or (uses("train", "gpus"),), resource_claims=named, **more)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, spec=spec)


def uses(container: str, *claims: str, policy: str | None = None) -> ContainerSpec:
    references = tuple(ClaimReference(name=claim) for claim in claims)
    return ContainerSpec(name=container, resources=Resources(claims=references), restart_policy=policy)


def claim(name: str, *devices: str | DeviceKey, reserved: tuple[Consumer, ...] = (), admin: bool = False) -> ResourceClaim:
    keys = [one if isinstance(one, DeviceKey) else key(one) for one in devices]
    results = tuple(DeviceResult(request="gpu", driver=one.driver, pool=one.pool, device=one.device, admin_access=admin) for one in keys)
    allocation = AllocationResult(devices=DeviceAllocation(results=results)) if devices else None
    status = ResourceClaimStatus(allocation=allocation, reserved_for=reserved)
    return ResourceClaim(metadata=ObjectMeta(name=name, namespace="ml"), status=status)


def consumer(of: Pod) -> Consumer:
    return Consumer(resource="pods", name=of.metadata.name, uid=of.metadata.uid)


def run(world: World, made: Pod, *claims: ResourceClaim) -> str:
    """The pod is seen and its claims are read; its uid."""
    world.see(made)
    world.hold(made.metadata.uid, *holdings(made, {one.metadata.name: one for one in claims}))
    return made.metadata.uid


def watch(world: World, uid: str, status: PodStatus) -> None:
    """A watch shows the pod in another state."""
    before = world.pods[uid]
    told = msgspec.structs.replace(status, conditions=before.status.conditions, start_time=before.status.start_time)
    world.see(msgspec.structs.replace(before, status=told))
    world.wait(2)


def stopped(world: World, code: int = 1, reason: str = "Error") -> Terminated:
    return Terminated(exit_code=code, reason=reason, started_at=rfc3339(START), finished_at=rfc3339(world.wall))


def breaks(world: World, device: str, text: str = "Xid 79") -> None:
    fault = Fault(Health.UNHEALTHY, text, "", world.wall)
    world.set(state(device, Health.UNHEALTHY, text, fault, since=world.wall))
    world.wait(2)


def mends(world: World, device: str) -> None:
    before = world.states[key(device)].faults
    faults = tuple(Fault(fault.health, fault.message, "", fault.start, fault.end or world.wall) for fault in before)
    world.set(state(device, Health.HEALTHY, "", *faults, since=world.wall))
    world.wait(2)


@pytest.fixture
def world() -> World:
    world = World()
    for n in range(4):
        world.heal(f"gpu-{n}")
    return world


# --- what a pod holds -------------------------------------------------------------------------------------------------------------------


def test_pods_that_share_a_claim_are_both_told(world: World) -> None:
    one, other = a_pod("a"), a_pod("b")
    shared = claim("gpus", "gpu-0", reserved=(consumer(one), consumer(other)))
    uids = [run(world, made, shared) for made in (one, other)]
    breaks(world, "gpu-0")
    assert [world.status(uid) for uid in uids] == ["False", "False"]


def test_a_claim_that_is_reserved_and_not_prepared_is_told_of_already(world: World) -> None:
    made = a_pod("a")
    uid = run(world, made, claim("gpus", "gpu-0", reserved=(consumer(made),)))
    waiting = ContainerStatus(name="train", state=ContainerState(waiting=Waiting(reason="ContainerCreating")))
    watch(world, uid, PodStatus(phase="Pending", container_statuses=(waiting,)))
    breaks(world, "gpu-0")
    assert world.status(uid) == "False"


def test_a_claim_that_is_reserved_for_another_pod_gives_this_one_nothing(world: World) -> None:
    one, other = a_pod("a"), a_pod("b")
    run(world, one, claim("gpus", "gpu-0", reserved=(consumer(other),)))
    assert world.said("uid-a") is None


def test_init_sidecar_and_ephemeral_containers_are_told_each_as_what_it_is(world: World) -> None:
    init = (uses("warm-up", "gpus"), uses("proxy", "gpus", policy="Always"))
    made = a_pod("a", init_containers=init, ephemeral_containers=(uses("debug"),))
    uid = run(world, made, claim("gpus", "gpu-0", reserved=(consumer(made),)))
    said = world.said(uid)
    assert said is not None
    assert sorted((entry.container, entry.kind) for entry in said.entries) == [
        ("proxy", "sidecar"),
        ("train", "container"),
        ("warm-up", "init"),
    ]


def test_several_claims_of_several_drivers_are_told_together_and_apart(world: World) -> None:
    nic = DeviceKey("nic.example.com", "node-1", "gpu-0")  # the name of a GPU of another driver
    world.states[nic] = DeviceState(nic, Health.UNHEALTHY, "link down", "", START, START, None, ())
    made = a_pod("a", uses("train", "gpus", "nics"), claims=("gpus", "nics"))
    uid = run(world, made, *(claim(n, d, reserved=(consumer(made),)) for n, d in (("gpus", key("gpu-0")), ("nics", nic))))
    said = world.said(uid)
    assert said is not None
    assert {entry.key: (entry.claim, entry.health) for entry in said.entries} == {
        key("gpu-0"): ("gpus", Health.HEALTHY),
        nic: ("nics", Health.UNHEALTHY),
    }


def test_the_devices_of_an_extended_resource_are_told(world: World) -> None:
    mapping = RequestMapping(container_name="train", resource_name="example.com/gpu", request_name="gpu")
    extended = ExtendedResourceClaimStatus(resource_claim_name="a-extended", request_mappings=(mapping,))
    made = a_pod("a", ContainerSpec(name="train"), claims=())
    made = msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, extended_resource_claim_status=extended))
    owner = OwnerReference(kind="Pod", name="a", uid="uid-a", controller=True)
    given = claim("a-extended", "gpu-0", reserved=(consumer(made),))
    given = msgspec.structs.replace(given, metadata=msgspec.structs.replace(given.metadata, owner_references=(owner,)))
    uid = run(world, made, given)
    breaks(world, "gpu-0")
    assert (world.entry(uid).entry, world.entry(uid).health) == ("example.com/gpu", Health.UNHEALTHY)


def test_admin_access_is_told_as_such_and_takes_no_device_from_its_holder(world: World) -> None:
    holder, watcher = a_pod("a"), a_pod("m")
    held = run(world, holder, claim("gpus", "gpu-0", reserved=(consumer(holder),)))
    watching = run(world, watcher, claim("gpus", "gpu-0", reserved=(consumer(watcher),), admin=True))
    breaks(world, "gpu-0")
    assert (world.entry(held).admin, world.entry(watching).admin) == (False, True)
    assert [world.status(uid) for uid in (held, watching)] == ["False", "False"]


def test_what_a_pod_group_has_reserved_is_its_pods(world: World) -> None:
    group = Consumer(api_group="scheduling.k8s.io", resource="podgroups", name="team", uid="uid-team")
    member = a_pod("a", scheduling_group=SchedulingGroup(pod_group_name="team"))
    stranger = a_pod("b", scheduling_group=SchedulingGroup(pod_group_name="others"))
    given = claim("gpus", "gpu-0", reserved=(group,))
    run(world, member, given)
    run(world, stranger, given)
    assert world.entry("uid-a").device == "gpu-0"
    assert world.said("uid-b") is None


def test_a_thousand_devices_on_one_pod_fit_and_none_that_is_ill_is_left_out() -> None:
    world = World()
    text = "Xid 79: GPU has fallen off the bus " * 30
    names = [f"gpu-{n:04}" for n in range(1000)]
    for n, name in enumerate(names):
        ill = n % 25 == 0
        fault = (Fault(Health.UNHEALTHY, text, "", START),) * ill
        world.states[key(name)] = state(name, Health.UNHEALTHY if ill else Health.HEALTHY, text * ill, *fault)
    uid = world.a_pod(a_pod("a"), *(holding(name) for name in names))
    said, written = world.said(uid), world.pods[uid].metadata.annotations[ANNOTATION]
    assert said is not None
    assert len(written.encode()) <= ANNOTATION_LIMIT
    assert [entry.health for entry in said.entries].count(Health.UNHEALTHY) == 40
    assert len(said.entries) + said.omitted.total == 1000


# --- what becomes of a pod --------------------------------------------------------------------------------------------------------------


def test_a_pod_that_is_recreated_under_its_name_is_another(world: World) -> None:
    first = a_pod("a", uid="uid-1")
    run(world, first, claim("gpus", "gpu-0", reserved=(consumer(first),)))
    breaks(world, "gpu-0")
    world.desk.gone("uid-1", world.now, world.wall)
    del world.pods["uid-1"]
    second = a_pod("a", uid="uid-2")
    run(world, second, claim("gpus", "gpu-1", reserved=(consumer(second),)))
    assert (world.entry("uid-2").device, world.entry("uid-2").faults, world.status("uid-2")) == ("gpu-1", (), "True")
    written = len(world.patches)
    mends(world, "gpu-0")
    assert len(world.patches) == written


def test_a_claim_given_at_once_to_another_pod_takes_its_faults_there_alone(world: World) -> None:
    first, second = a_pod("a"), a_pod("b")
    run(world, first, claim("gpus", "gpu-0", reserved=(consumer(first),)))
    end = ContainerStatus(name="train", state=ContainerState(terminated=stopped(world, 0, "Completed")))
    watch(world, "uid-a", PodStatus(phase="Succeeded", container_statuses=(end,)))
    run(world, second, claim("gpus", "gpu-0", reserved=(consumer(second),)))
    world.wait(5)
    breaks(world, "gpu-0")
    assert (world.status("uid-a"), world.entry("uid-a").faults) == ("True", ())
    assert (world.status("uid-b"), len(world.entry("uid-b").faults)) == ("False", 1)


def test_a_container_that_restarts_changes_nothing_of_what_it_holds(world: World) -> None:
    made = a_pod("a")
    uid = run(world, made, claim("gpus", "gpu-0", reserved=(consumer(made),)))
    breaks(world, "gpu-0")
    before, written = world.said(uid), len(world.patches)
    again = ContainerStatus(
        name="train",
        restart_count=1,
        state=ContainerState(running=Running(started_at=rfc3339(world.wall))),
        last_state=ContainerState(terminated=stopped(world, 139)),
    )
    watch(world, uid, PodStatus(phase="Running", container_statuses=(again,)))
    assert (world.said(uid), len(world.patches)) == (before, written)


def test_the_last_run_of_a_restarted_container_is_explained_also_after_recovery_and_a_lost_checkpoint(world: World) -> None:
    made = a_pod("a")
    given = claim("gpus", "gpu-0", reserved=(consumer(made),))
    uid = run(world, made, given)
    breaks(world, "gpu-0")
    last = stopped(world, 139)
    mends(world, "gpu-0")
    world.wait(300)
    world.states.clear()
    world.restart()
    world.hold(uid, *holdings(made, {"gpus": given}))
    world.heal("gpu-0")
    world.wait(300)
    status = ContainerStatus(name="train", restart_count=1, last_state=ContainerState(terminated=last))
    watch(world, uid, PodStatus(phase="Running", container_statuses=(status,)))
    said = world.said(uid)
    assert said is not None
    (cause,) = causes(world.pods[uid], said.entries)
    assert (cause.verdict, cause.fault and cause.fault.message) == (Verdict.EXPLAINED, "Xid 79")
