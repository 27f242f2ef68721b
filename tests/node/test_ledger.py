"""The ledger's rules, one by one, as a person would tell them. test_ledger_machine.py tries their interplay."""

import sys
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.ledger import DeviceState, Fault, Ledger, SourceKey
from podvitals.node.rows import Rows
from podvitals.wire.messages import DeviceReport

GPU = SourceKey("gpu.example.com")
XID = SourceKey("gpu.example.com", "xid")
D0 = DeviceKey("gpu.example.com", "node1", "gpu-0")
WALL = 1_700_000_000.0


def said(
    device: str = "gpu-0", health: Health = Health.HEALTHY, message: str = "", lease: float = 15.0, checked: float = 0.0, action: str = ""
) -> DeviceReport:
    return DeviceReport("node1", device, health, checked, lease, message, action)


def state(ledger: Ledger, key: DeviceKey = D0) -> DeviceState:
    found = ledger.state(key)
    assert found is not None
    return found


def hear(ledger: Ledger, entries: Iterable[DeviceReport], now: float, source: SourceKey = GPU, generation: int = 1) -> frozenset[DeviceKey]:
    return ledger.report(source, generation, entries, now, WALL + now).changed


def test_a_silent_driver_makes_its_devices_unknown_at_the_deadline_not_later() -> None:
    ledger = Ledger()
    hear(ledger, [said()], now=0.0)
    assert ledger.next_deadline() == 15.0
    assert ledger.expire(14.999, WALL + 14.999) == frozenset()
    assert ledger.expire(15.0, WALL + 15.0) == {D0}
    assert state(ledger).health is Health.UNKNOWN
    assert state(ledger).message == "nothing heard from driver gpu.example.com for 15s (driver silent); last known: Healthy"


def test_the_message_of_an_ended_lease_says_what_was_last_known_and_why() -> None:
    ledger = Ledger()
    hear(ledger, [said(health=Health.UNHEALTHY, message="Xid 79")], now=0.0)
    ledger.disconnected(GPU, "unreachable", 3.0)
    ledger.expire(15.0, WALL)
    assert state(ledger).message == "nothing heard from driver gpu.example.com for 15s (driver unreachable); last known: Unhealthy: Xid 79"


def test_a_driver_that_reconnects_within_its_lease_changes_nothing() -> None:
    ledger = Ledger()
    hear(ledger, [said()], now=0.0)
    ledger.disconnected(GPU, "gone", 5.0)
    ledger.connected(GPU)
    assert ledger.expire(14.9, WALL) == frozenset()
    assert hear(ledger, [said()], now=14.95, generation=2) == frozenset()
    assert state(ledger).faults == ()


def test_a_driver_gone_for_30_seconds_is_unknown_however_long_its_lease() -> None:
    ledger = Ledger()
    hear(ledger, [said(lease=3600)], now=0.0)
    ledger.disconnected(GPU, "gone", 100.0)
    assert state(ledger).deadline == ledger.next_deadline() == 130.0
    assert ledger.expire(130.0, WALL + 130) == {D0}
    assert "for 30s (driver gone); last known: Healthy" in state(ledger).message


@pytest.mark.parametrize(("last", "message"), [(Health.HEALTHY, "fault 1"), (Health.UNHEALTHY, "fault 2")])
def test_a_fault_that_stands_ends_when_what_ended_it_is_read_late_not_when_that_may_have_come(last: Health, message: str) -> None:
    ledger = Ledger()
    hear(ledger, [said(health=Health.UNHEALTHY, message="fault 1", lease=3600)], now=0.0)
    assert ledger.report(GPU, 1, [said(health=last, message="fault 2", lease=15)], 90.0, WALL + 90, heard=1.0).changed == {D0}
    assert (state(ledger).health, state(ledger).since) == (Health.UNKNOWN, WALL + 90)
    assert [fault.health for fault in state(ledger).faults] == [Health.UNHEALTHY, Health.UNKNOWN]
    assert state(ledger).faults[0] == Fault(Health.UNHEALTHY, message, "", WALL, WALL + 90), "a pod that came meanwhile had it"


def test_a_return_from_an_ended_lease_is_a_change_although_the_report_is_the_same() -> None:
    ledger = Ledger()
    hear(ledger, [said()], now=0.0)
    ledger.expire(15.0, WALL + 15)
    assert hear(ledger, [said()], now=86.0) == {D0}
    assert state(ledger).health is Health.HEALTHY
    assert [(fault.health, fault.start, fault.end) for fault in state(ledger).faults] == [(Health.UNKNOWN, WALL + 15, WALL + 86)]


def test_a_machine_that_slept_through_a_deadline_dates_it_rightly() -> None:
    ledger = Ledger()
    hear(ledger, [said()], now=0.0)
    ledger.expire(7200.0, WALL + 7200)
    assert state(ledger).since == WALL + 15


def test_an_identical_report_changes_nothing_but_the_lease() -> None:
    ledger = Ledger()
    hear(ledger, [said(), said("gpu-1")], now=0.0)
    before = ledger.states()
    assert hear(ledger, [said(checked=1.0), said("gpu-1", checked=2.0)], now=10.0) == frozenset()
    after = ledger.states()
    assert [(s.health, s.message, s.since, s.faults) for s in before.values()] == [
        (s.health, s.message, s.since, s.faults) for s in after.values()
    ]
    assert ledger.next_deadline() == 25.0


def test_identical_bytes_renew_without_being_read_until_they_would_mean_something_else() -> None:
    ledger = Ledger()
    first = ledger.report(GPU, 1, [said(), said("gpu-1")], 0.0, WALL).delivery
    assert first is not None
    assert ledger.renew(first, 5.0, WALL)
    assert ledger.next_deadline() == 20.0
    hear(ledger, [said(health=Health.UNHEALTHY)], now=6.0)
    assert not ledger.renew(first, 7.0, WALL), "gpu-0 was said to be Unhealthy meanwhile: the old bytes make it Healthy again"


def test_two_alternating_halves_of_a_report_both_renew_unread() -> None:
    ledger = Ledger()
    one = ledger.report(GPU, 1, [said("gpu-0")], 0.0, WALL).delivery
    two = ledger.report(GPU, 1, [said("gpu-1")], 0.1, WALL).delivery
    assert one is not None
    assert two is not None
    assert all(ledger.renew(half, float(t), WALL) for t in range(1, 5) for half in (one, two))


def test_leases_are_per_device_and_may_change_from_one_report_to_the_next() -> None:
    ledger = Ledger()
    hear(ledger, [said("gpu-0", lease=5), said("gpu-1", lease=60)], now=0.0)
    assert ledger.expire(5.0, WALL) == {D0}
    hear(ledger, [said("gpu-0", lease=100), said("gpu-1", lease=2)], now=6.0)
    assert ledger.expire(8.0, WALL) == {D0._replace(device="gpu-1")}
    assert state(ledger).deadline == 106.0


def test_a_device_left_out_of_a_report_keeps_its_own_lease() -> None:
    ledger = Ledger()
    hear(ledger, [said("gpu-0"), said("gpu-1"), said("gpu-2")], now=0.0)
    hear(ledger, [said("gpu-1"), said("gpu-2")], now=10.0)
    assert ledger.expire(15.0, WALL) == {D0}
    assert ledger.next_deadline() == 25.0


def test_what_an_endpoint_without_authority_says_is_ignored() -> None:
    ledger = Ledger()
    hear(ledger, [said(health=Health.UNHEALTHY)], now=0.0, generation=1)
    ledger.authority(GPU, 2)
    late = ledger.report(GPU, 1, [said()], 1.0, WALL)
    assert late.delivery is None
    assert state(ledger).health is Health.UNHEALTHY


def test_a_replayed_report_loses_against_what_was_heard_later() -> None:
    ledger = Ledger()
    hear(ledger, [said(health=Health.UNHEALTHY), said("gpu-1")], now=5.0, generation=2)
    replay = ledger.report(GPU, 3, [said(), said("gpu-2")], 8.0, WALL, heard=3.0)
    assert replay.changed == {D0._replace(device="gpu-2")}
    assert state(ledger).health is Health.UNHEALTHY
    assert state(ledger, D0._replace(device="gpu-2")).deadline == 18.0


def test_the_worst_source_wins_and_all_messages_stay_worst_first() -> None:
    ledger = Ledger()
    hear(ledger, [said(message="temperature 60 C")], now=0.0)
    hear(ledger, [said(health=Health.UNHEALTHY, message="Xid 79", action="power-cycle")], now=0.0, source=XID)
    assert (state(ledger).health, state(ledger).message, state(ledger).action) == (
        Health.UNHEALTHY,
        "Xid 79; temperature 60 C",
        "power-cycle",
    )
    hear(ledger, [said()], now=1.0, source=XID)
    assert (state(ledger).health, state(ledger).message, state(ledger).action) == (Health.HEALTHY, "temperature 60 C", "")


def test_a_silent_auxiliary_source_does_not_leave_a_stale_healthy() -> None:
    ledger = Ledger()
    hear(ledger, [said(lease=600)], now=0.0)
    hear(ledger, [said(lease=10)], now=0.0, source=XID)
    ledger.expire(10.0, WALL)
    assert state(ledger).health is Health.UNKNOWN
    assert 'health source "xid" of driver gpu.example.com for 10s (source silent)' in state(ledger).message


def test_an_auxiliary_source_taken_away_for_a_day_no_longer_holds_its_devices() -> None:
    ledger = Ledger()
    hear(ledger, [said(lease=86400)], now=0.0)
    hear(ledger, [said(lease=10), said("gpu-9", lease=10)], now=0.0, source=XID)
    ledger.disconnected(XID, "gone", 1.0)
    ledger.expire(31.0, WALL)
    assert state(ledger).health is Health.UNKNOWN
    hear(ledger, [said(lease=86400)], now=80_000.0)
    ledger.expire(31.0 + 86400, WALL)
    assert state(ledger).health is Health.HEALTHY
    assert ledger.state(D0._replace(device="gpu-9")) is None


def test_an_episode_is_one_fault_with_its_latest_message_and_three_are_kept() -> None:
    ledger = Ledger()
    for now, health, message in [
        (0, Health.UNHEALTHY, "link 1 down"),
        (1, Health.UNHEALTHY, "link 2 down"),
        (2, Health.HEALTHY, ""),
        (3, Health.UNKNOWN, "stuck"),
        (4, Health.UNHEALTHY, "Xid 31"),
        (5, Health.HEALTHY, ""),
        (6, Health.UNHEALTHY, "Xid 79"),
    ]:
        hear(ledger, [said(health=health, message=message)], now=float(now))
    assert [(fault.message, fault.start - WALL, fault.end and fault.end - WALL) for fault in state(ledger).faults] == [
        ("link 2 down", 0, 2),
        ("Xid 31", 4, 5),
        ("Xid 79", 6, None),
    ]


def test_no_fault_ends_before_it_starts_when_the_wall_clock_is_set_back() -> None:
    ledger = Ledger()
    ledger.report(GPU, 1, [said(health=Health.UNHEALTHY)], 0.0, WALL)
    ledger.report(GPU, 1, [said()], 1.0, WALL - 3600)
    assert state(ledger).faults[0].end == WALL


def test_hostile_numbers_are_clamped() -> None:
    ledger = Ledger()
    hear(
        ledger,
        [
            said("a", lease=float("nan"), checked=float("nan")),
            said("b", lease=1e300, checked=1e300),
            said("c", lease=-1, checked=-1),
            said("d", lease=0.01),
        ],
        now=0.0,
    )
    found = {key.device: state for key, state in ledger.states().items()}
    assert {name: one.deadline for name, one in found.items()} == {"a": 30.0, "b": 86400.0, "c": 30.0, "d": 1.0}
    assert {name: one.checked_at for name, one in found.items()} == {"a": 0.0, "b": WALL, "c": 0.0, "d": 0.0}


def test_a_driver_has_a_bounded_number_of_devices_and_its_neighbours_are_unharmed() -> None:
    ledger = Ledger(devices_per_driver=10)
    outcome = ledger.report(GPU, 1, [said(f"gpu-{n}") for n in range(1000)], 0.0, WALL)
    assert (outcome.refused, len(outcome.changed)) == (990, 10)
    assert hear(ledger, [said("nic-0")], now=0.0, source=SourceKey("nic.example.com"))
    assert len(ledger.states()) == 11


def test_new_names_find_room_when_old_ones_have_been_unknown_for_a_day() -> None:
    ledger = Ledger(devices_per_driver=1)
    hear(ledger, [said("mig-1")], now=0.0)
    ledger.expire(15.0, WALL)
    assert ledger.report(GPU, 1, [said("mig-2")], 1000.0, WALL).refused == 1
    assert ledger.report(GPU, 1, [said("mig-2")], 15.0 + 86400, WALL).refused == 0
    assert [key.device for key in ledger.devices()] == ["mig-2"]


def test_a_restart_makes_no_state_better_than_its_remaining_lease() -> None:
    before = Ledger()
    hear(before, [said("gpu-0", lease=20), said("gpu-1", lease=60), said("gpu-2", Health.UNHEALTHY, "Xid 79", lease=60)], now=0.0)
    after = Ledger()
    after.restore(before.everything(), 30.0, WALL + 30)
    assert state(after).health is Health.UNKNOWN
    assert state(after).since == WALL + 20
    assert state(after).message.startswith(
        "nothing heard from driver gpu.example.com for 20s (podvitals was not running); last known: Healthy"
    )
    assert state(after, D0._replace(device="gpu-1")).health is Health.HEALTHY
    assert state(after, D0._replace(device="gpu-1")).deadline == 60.0
    assert state(after, D0._replace(device="gpu-2")).faults == state(before, D0._replace(device="gpu-2")).faults


def test_a_driver_that_had_its_chance_after_a_restart_is_named_though_the_next_one_came_meanwhile() -> None:
    ledger = Ledger()
    hear(ledger, [said("gpu-0", lease=20), said("gpu-1", lease=20)], now=0.0)
    for start in (30.0, 45.0):
        rows, ledger = ledger.everything(), Ledger()
        ledger.restore(rows, start, WALL + start)
        assert "(podvitals was not running)" in state(ledger).message
    ledger.connected(GPU)
    hear(ledger, [said("gpu-1", lease=60)], now=46.0)
    assert ledger.next_deadline() == 65.0
    assert ledger.expire(65.0, WALL + 65) == {D0}
    assert state(ledger).message == "nothing heard from driver gpu.example.com for 20s (driver silent); last known: Healthy"
    assert (state(ledger).since, len(state(ledger).faults)) == (WALL + 20, 1)


def test_a_restart_does_not_reword_a_lease_that_had_ended_before() -> None:
    before = Ledger()
    hear(before, [said()], now=0.0)
    before.expire(15.0, WALL + 15)
    after = Ledger()
    assert after.restore(before.everything(), 500.0, WALL + 500) == frozenset()
    assert state(after) == state(before)


def test_a_lost_last_heard_row_only_shortens_a_lease() -> None:
    before = Ledger()
    hear(before, [said()], now=0.0)
    rows = before.everything()
    rows.heard.clear()
    after = Ledger()
    after.restore(rows, 1.0, WALL)
    assert state(after).health is Health.UNKNOWN


def test_a_fault_that_was_said_several_times_while_nobody_read_is_one_fault() -> None:
    ledger = Ledger()
    hear(ledger, [said(health=Health.UNHEALTHY, message="n=1")], now=0.0)
    ledger.expire(90.0, WALL + 90.0)
    for message, heard in (("n=2", 1.0), ("n=2", 1.0), ("n=2", 6.0)):
        ledger.report(GPU, 1, [said(health=Health.UNHEALTHY, message=message)], 90.0, WALL + 90.0, heard)
    assert [fault.message for fault in state(ledger).faults if fault.health is Health.UNHEALTHY] == ["n=1", "n=2"]


def test_memory_stays_bounded_when_a_driver_reconnects_and_regroups_for_ever() -> None:
    ledger = Ledger()
    hear(ledger, [said(f"gpu-{n}", lease=86400) for n in range(16)], now=0.0)
    for turn in range(20_000):
        hear(ledger, [said(f"gpu-{turn % 16}", lease=86400 - turn % 7)], now=turn / 1000)
        ledger.disconnected(GPU, "unreachable", turn / 1000)
        ledger.connected(GPU)
    assert len(ledger._deadlines) < 256
    ledger.drain()
    assert len(ledger.everything().heard) <= 16


def test_what_a_heartbeat_costs_does_not_grow_with_the_devices() -> None:
    costs = []
    for devices in (4, 4096):
        ledger = Ledger()
        delivery = ledger.report(GPU, 1, [said(f"gpu-{n}") for n in range(devices)], 0.0, WALL).delivery
        assert delivery is not None
        ledger.drain()
        costs.append(calls(partial(ledger.renew, delivery, 1.0, WALL)))
        rows = ledger.drain()
        assert (len(rows.facts), len(rows.devices), len(rows.heard)) == (0, 0, 1)
    assert costs[0] == costs[1]


def test_a_report_of_unchanged_devices_with_new_times_is_one_row_of_the_checkpoint() -> None:
    ledger = Ledger()
    hear(ledger, [said(f"gpu-{n}") for n in range(4096)], now=0.0)
    ledger.drain()
    assert hear(ledger, [said(f"gpu-{n}", checked=7.0) for n in range(4096)], now=1.0) == frozenset()
    assert not ledger.unsaved
    rows = ledger.drain()
    assert (len(rows.facts), len(rows.devices), len(rows.heard)) == (0, 0, 1)


def test_what_is_saved_in_parts_says_when_it_was_heard_with_the_last_part_alone() -> None:
    ledger = Ledger()
    delivery = ledger.report(GPU, 1, [said(f"gpu-{n}") for n in range(5)], 0.0, WALL).delivery
    assert delivery is not None
    parts = list[Rows]()
    while ledger.unsaved:
        assert ledger.renew(delivery, 1.0 + len(parts), WALL)
        parts.append(ledger.drain(2))
    assert [(len(part.facts), len(part.devices), list(part.heard.values())) for part in parts] == [(2, 2, []), (2, 2, []), (1, 1, [3.0])]


def test_what_changes_between_two_parts_is_saved_as_it_is_then() -> None:
    ledger, rows = Ledger(), Rows()
    hear(ledger, [said(f"gpu-{n}") for n in range(3)], now=0.0)
    rows.lay_over(ledger.drain(2))
    hear(ledger, [said(health=Health.UNHEALTHY, message="Xid 79")], now=1.0)
    while ledger.unsaved:
        rows.lay_over(ledger.drain(2))
    assert rows == ledger.everything()


def test_where_nothing_is_saved_any_more_everything_is_taken_again() -> None:
    ledger, rows = Ledger(), Rows()
    hear(ledger, [said(f"gpu-{n}") for n in range(3)], now=0.0)
    ledger.drain()
    ledger.unsave()
    while ledger.unsaved:
        rows.lay_over(ledger.drain(2))
    assert rows == ledger.everything()


def calls(action: Callable[[], object]) -> int:
    """How many functions it calls: what it costs, on a machine of any speed."""
    count = 0

    def one_more(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(one_more)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count
