"""Field, condition and entries of a pod."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.claim.meta import Condition
from podvitals.claim.pod import ContainerState, ContainerStatus, Pod, PodStatus, Terminated
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.status import began, condition, ended_at, entries, field
from tests.pod.make import START, holding, key, pod, state

HEALTHS = st.sampled_from(Health)


def of(*states: DeviceState) -> dict[DeviceKey, DeviceState]:
    return {one.key: one for one in states}


def the_condition(*states: DeviceState, shown: Condition | None = None) -> Condition:
    held = [holding(one.key.device) for one in states]
    return condition(entries(began(pod()), held, of(*states).__getitem__), shown, START + 100)


@given(st.lists(HEALTHS, min_size=1, max_size=6))
def test_the_condition_is_as_bad_as_the_worst_device(healths: list[Health]) -> None:
    said = the_condition(*(state(f"gpu-{n}", health) for n, health in enumerate(healths)))
    expected = {Health.HEALTHY: "True", Health.UNKNOWN: "Unknown", Health.UNHEALTHY: "False"}[Health.worst(healths)]
    assert said.status == expected


def test_the_condition_names_the_worst_devices_and_why() -> None:
    said = the_condition(state("gpu-0"), state("gpu-1", Health.UNHEALTHY, "Xid 79"), state("gpu-2", Health.UNKNOWN, "silent"))
    assert (said.reason, said.message) == ("DeviceUnhealthy", "1 of 3 devices unhealthy; gpu.example.com/node-1/gpu-1: Xid 79")


def test_a_condition_message_stays_short_and_counts_the_rest() -> None:
    message = the_condition(*(state(f"gpu-{n:03}", Health.UNHEALTHY, "x" * 100) for n in range(50))).message or ""
    assert len(message.encode()) <= 1024
    assert message.startswith("50 of 50 devices unhealthy; ")
    listed = message.count("/node-1/")
    assert message.endswith(f"; {50 - listed} more")


def test_a_device_of_two_containers_counts_once_in_the_condition() -> None:
    held = [holding("gpu-0", "train"), holding("gpu-0", "watch")]
    assert condition(entries(began(pod()), held, lambda _: state("gpu-0")), None, START).message == "1 of 1 device healthy"


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = Condition(type="podvitals.dev/DevicesHealthy", status="False", last_transition_time=rfc3339(START))
    assert the_condition(state("gpu-0", Health.UNHEALTHY), shown=before).last_transition_time == rfc3339(START)
    assert the_condition(state("gpu-0"), shown=before).last_transition_time == rfc3339(START + 100)


def test_faults_from_before_the_pod_are_not_its_own() -> None:
    old = Fault(Health.UNHEALTHY, "old", "", START - 500, START - 400)
    met = Fault(Health.UNHEALTHY, "met", "", START - 10, START + 10)
    lasts = Fault(Health.UNHEALTHY, "lasts", "", START - 20, None)
    (entry,) = entries(began(pod()), [holding("gpu-0")], lambda _: state("gpu-0", Health.UNHEALTHY, "", old, met, lasts))
    assert [fault.message for fault in entry.faults] == ["met", "lasts"]


@given(st.sets(st.sampled_from(["cdi.example/gpu=0", "cdi.example/gpu=1", "gpu.example.com/node-1/gpu-2", ""]), min_size=0), st.data())
def test_distinct_devices_never_collapse_in_the_field(ids: set[str], data: st.DataObject) -> None:
    held = [holding(f"gpu-{n}") for n in range(5)]
    chosen = data.draw(st.dictionaries(st.sampled_from([one.key for one in held]), st.sampled_from(sorted(ids | {"same"}))))
    broken = data.draw(st.sampled_from([one.key for one in held]))
    (status,) = field(held, lambda k: state(k.device, Health.UNHEALTHY if k == broken else Health.HEALTHY), chosen)["train"]
    assert len({resource.resource_id for resource in status.resources}) == 5
    assert sorted(resource.health for resource in status.resources) == ["Healthy"] * 4 + ["Unhealthy"]


def test_a_device_is_called_by_its_cdi_id_where_that_is_its_own() -> None:
    held = [holding("gpu-0"), holding("gpu-1"), holding("gpu-2")]
    ids = {key("gpu-0"): "v/gpu=a", key("gpu-1"): "v/gpu=all", key("gpu-2"): "v/gpu=all"}
    (status,) = field(held, lambda k: state(k.device), ids)["train"]
    assert [resource.resource_id for resource in status.resources] == [
        "gpu.example.com/node-1/gpu-1",
        "gpu.example.com/node-1/gpu-2",
        "v/gpu=a",
    ]


@given(st.permutations([holding("gpu-0"), holding("gpu-1"), holding("nic-0", entry="claim:nics"), holding("gpu-0", container="init")]))
def test_the_field_does_not_depend_on_the_order_of_holdings(held: list[object]) -> None:
    given_order = field(held, lambda k: state(k.device), {})  # type: ignore[arg-type]
    assert list(given_order) == ["init", "train"]
    assert [status.name for status in given_order["train"]] == ["claim:gpus", "claim:nics"]
    assert given_order["train"] == field(sorted(held, key=str), lambda k: state(k.device), {})["train"]  # type: ignore[arg-type]


def test_messages_are_shown_cut_and_only_with_their_gate() -> None:
    def shown(*, messages: bool) -> str | None:
        health = field([holding("gpu-0")], lambda _: state("gpu-0", Health.UNHEALTHY, "ü" * 2000), {}, messages=messages)
        return health["train"][0].resources[0].message

    assert shown(messages=False) is None
    assert len((shown(messages=True) or "").encode()) <= 1024


def stopped(at: float) -> ContainerState:
    return ContainerState(terminated=Terminated(finished_at=rfc3339(at)))


def test_a_pod_ends_when_its_last_container_stops() -> None:
    assert ended_at(pod(ended=START + 7)) == START + 7
    assert ended_at(pod()) is None
    first, last = (ContainerStatus(name=name, state=stopped(at)) for name, at in (("a", START + 3), ("b", START + 9)))
    both = Pod(status=PodStatus(phase="Failed", init_container_statuses=(first,), container_statuses=(last, first)))
    assert ended_at(both) == START + 9
