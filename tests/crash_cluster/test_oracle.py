"""What the oracle calls wrong, and what it does not: the limits of docs/relay.md, each from both sides."""

from math import inf

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from tests.cluster.api import Object
from tests.crash.oracle import Claim
from tests.crash.truth import Driver, State, Truth
from tests.crash_cluster import limits
from tests.crash_cluster.judge import Judge
from tests.crash_cluster.oracle import Order, Pod, claims_of, effects, end_of
from tests.crash_cluster.world import PARTS

KEY = DeviceKey("sdk.crash.example", "node1", "s0")
HEALTHY = Claim("uid", "a", KEY, Health.HEALTHY, 0, "field")
BROKEN = 100.0
"""When the device of these tests breaks, having been healthy."""


@pytest.fixture
def truth() -> Truth:
    truth = Truth(30.0)
    truth.drivers[KEY.driver] = Driver(limits.LEASE)
    truth.drivers[KEY.driver].started(1, 0.0)
    truth.add(KEY, 0.0)
    truth.write(KEY, State(BROKEN, Health.UNHEALTHY, 1))
    return truth


@pytest.fixture
def order() -> Order:
    return Order(PARTS)


def test_what_is_no_longer_so_may_not_be_said(truth: Truth, order: Order) -> None:
    assert end_of(HEALTHY, truth, order, BROKEN + 5) == BROKEN
    judge = Judge(truth, order)
    assert not judge.judge([HEALTHY], BROKEN + limits.ALLOWANCE + 0.1, 0.0)
    (found,) = judge.judge([HEALTHY], BROKEN + limits.ALLOWANCE + 0.2 + limits.BLIP, 0.0)
    assert found.kind == "false Healthy"


def test_a_silent_driver_is_believed_for_its_lease(truth: Truth, order: Order) -> None:
    truth.drivers[KEY.driver].stopped(1, BROKEN - 10)
    order.broke("driver:sdk", "stopped", BROKEN - 10)
    assert end_of(HEALTHY, truth, order, BROKEN) == BROKEN - 10 + limits.LEASE


def test_a_hung_relay_is_believed_for_its_own_lease_where_the_agent_makes_the_kubelet_look(truth: Truth, order: Order) -> None:
    order.broke("relay", "stopped", BROKEN - 2)
    assert end_of(HEALTHY, truth, order, BROKEN + 60) == BROKEN - 2 + limits.HANGS
    order.broke("agent", "process", BROKEN)
    assert end_of(HEALTHY, truth, order, BROKEN + 60) == inf


def test_the_annotation_goes_by_way_of_the_agent_and_not_of_the_kubelet(truth: Truth, order: Order) -> None:
    told = Claim("uid", "a", KEY, Health.HEALTHY, 0, "annotation")
    order.broke("kubelet", "process", BROKEN - 2)
    assert end_of(told, truth, order, BROKEN + 5) == BROKEN
    order.broke("agent", "process", BROKEN - 2)
    assert end_of(told, truth, order, BROKEN + 5) == inf


def test_while_the_relay_or_the_kubelet_is_down_the_field_is_what_it_was(truth: Truth, order: Order) -> None:
    for part in ("relay", "kubelet"):
        order.broke(part, "process", BROKEN - 2)
        assert end_of(HEALTHY, truth, order, BROKEN + 60) == inf
        order.mended(part, "process", BROKEN + 10)
        assert end_of(HEALTHY, truth, order, BROKEN + 60) == BROKEN + 10 + limits.SETTLES


def test_once_all_saw_the_truth_there_is_no_grace_any_more(truth: Truth, order: Order) -> None:
    order.broke("relay", "process", 10.0)
    order.mended("relay", "process", 12.0)
    order.settled()
    assert end_of(HEALTHY, truth, order, BROKEN + 5) == BROKEN


def test_a_fault_that_never_was_is_invented(truth: Truth, order: Order) -> None:
    told = Claim("uid", "a", KEY, Health.UNHEALTHY, 7, "field")
    (wrong,) = Judge(truth, order).judge([told], BROKEN + 1, 0.0)
    assert wrong.kind == "invented"


def test_unknown_is_needless_once_everything_has_been_in_order_for_long(truth: Truth, order: Order) -> None:
    told = Claim("uid", "a", KEY, Health.UNKNOWN, 0, "field")
    order.broke("driver:sdk", "process", BROKEN)
    judge = Judge(truth, order)
    assert not judge.judge([told], BROKEN, 0.0)
    assert not judge.judge([told], BROKEN + 60, 0.0)
    order.mended("driver:sdk", "process", BROKEN + 60)
    late = BROKEN + 60 + limits.SETTLES + limits.NEEDLESS
    assert not judge.judge([told], late, 0.0)
    (wrong,) = judge.judge([told], late + 0.1, 0.0)
    assert wrong.kind == "needless Unknown"
    assert not judge.judge([told], late + 0.2, 0.0)


def test_a_prepare_may_fail_while_the_kubelet_is_killed_and_not_back(order: Order) -> None:
    order.broke("kubelet", "process", 10.0)
    assert Pod("a", "uid", 11.0).failed(12.0, order)
    order.mended("kubelet", "process", 14.0)
    assert Pod("a", "uid", 13.0).failed(50.0, order)
    late = Pod("a", "uid", 15.0)
    assert not late.failed(16.0, order)
    assert late.excused == 0


def test_a_prepare_may_fail_that_was_under_way_when_the_relay_was_killed_and_none_that_began_after(order: Order) -> None:
    order.broke("relay", "process", 10.0)
    assert Pod("a", "uid", 9.0).failed(10.5, order)
    assert not Pod("a", "uid", 10.1).failed(10.5, order)
    assert not Pod("a", "uid", 9.0).failed(10.0 + limits.UNDER_WAY + 0.1, order)


@pytest.mark.parametrize("how", ["process", "stopped"])
def test_without_a_keeper_a_prepare_may_fail_until_the_relay_is_back(order: Order, how: str) -> None:
    order.broke("relay", "process", 10.0)
    order.broke("keeper", how, 11.0)
    assert Pod("a", "uid", 10.5).failed(12.5, order)
    order.mended("keeper", how, 12.0)
    assert Pod("a", "uid", 12.1).failed(12.5, order)
    order.mended("relay", "process", 14.0)
    assert not Pod("a", "uid", 14.5).failed(15.0, order)


@pytest.mark.parametrize(
    ("part", "how"),
    [("driver:sdk", "process"), ("driver:go", "stopped"), ("relay", "stopped"), ("agent", "process"), ("keeper", "process")],
)
def test_no_prepare_may_fail_for_a_driver_or_an_agent_or_because_the_relay_is_stopped(order: Order, part: str, how: str) -> None:
    order.broke(part, how, 10.0)
    assert not Pod("a", "uid", 11.0).failed(12.0, order)


def test_a_pod_that_does_not_run_end_or_go_is_stuck_but_not_while_anything_is_out_of_order(order: Order) -> None:
    pod = Pod("a", "uid", 100.0, lasts=1.0)
    soon, late = 100.0 + limits.STARTS - 1, 100.0 + limits.STARTS + 1
    assert not pod.late(order, soon)
    assert "does not run" in pod.late(order, late)
    order.broke("kubelet", "process", 90.0)
    assert not pod.late(order, late)
    order.mended("kubelet", "process", 110.0)
    assert not pod.late(order, late)
    assert pod.late(order, 110.0 + limits.STARTS + 1)
    pod.runs = 140.0
    assert "has not ended" in pod.late(order, 141.0 + limits.ENDS + 1)
    pod.ended = 150.0
    assert not pod.late(order, 1000.0)
    pod.deleted = 200.0
    assert "is not gone" in pod.late(order, 200.0 + limits.ENDS + 1)
    pod.gone = 201.0
    assert not pod.late(order, 1000.0)


def test_no_pod_is_late_that_nobody_could_place(order: Order) -> None:
    order.unpublished.begin(90.0)
    assert not Pod("a", "uid", 100.0).late(order, 1000.0)


def test_a_failed_prepare_is_given_the_time_until_it_is_tried_again(order: Order) -> None:
    pod = Pod("a", "uid", 100.0)
    pod.failed(101.0, order)
    assert not pod.late(order, 101.0 + limits.RETRIED)
    assert pod.late(order, 101.0 + limits.RETRIED + limits.STARTS + 1)


def test_of_a_pod_that_does_not_run_yet_the_field_is_no_claim() -> None:
    resource = {"resourceID": str(KEY), "health": "Unhealthy", "message": "broken n=1"}
    status = {"allocatedResourcesStatus": [{"name": "claim:devices", "resources": [resource]}]}
    pod: Object = {"metadata": {"uid": "uid", "name": "a"}, "status": {"phase": "Running", "containerStatuses": [status]}}
    (claim,) = claims_of(pod, [KEY])
    assert (claim.where, claim.health, claim.serial) == ("field", Health.UNHEALTHY, 1)
    pod["status"]["phase"] = "Pending"
    assert not claims_of(pod, [KEY])


GIVEN = {"one": frozenset({"s0"}), "two": frozenset({"s0"})}


def test_what_is_repeated_has_one_effect() -> None:
    assert not effects([("prepared", "one"), ("prepared", "one"), ("unprepared", "one"), ("unprepared", "one")], GIVEN, frozenset({"one"}))
    assert not effects([("prepared", "one"), ("unprepared", "one"), ("prepared", "two")], GIVEN, frozenset())


def test_a_device_prepared_for_two_claims_at_once_is_found() -> None:
    (wrong,) = effects([("prepared", "one"), ("prepared", "two")], GIVEN, frozenset())
    assert wrong == "s0 was prepared for claim two while claim one held it"


def test_a_prepare_after_the_unprepare_is_found() -> None:
    assert effects([("prepared", "one"), ("unprepared", "one"), ("prepared", "one")], GIVEN, frozenset()) == [
        "claim one was prepared again after it had been unprepared"
    ]


def test_what_stays_prepared_for_a_pod_that_is_gone_is_found() -> None:
    assert effects([("prepared", "one")], GIVEN, frozenset({"one"})) == ["s0 is still prepared for claim one, whose pod is gone"]
