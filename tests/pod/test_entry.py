"""The annotation's codec."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import InvalidInput
from podvitals.pod.entry import ANNOTATION_LIMIT, DeviceEntry, FaultEntry, Omitted, PodDevices, decode, moment

NOON = moment(1_800_000_000.1234)


def an_entry(device: str = "gpu-0", health: Health = Health.HEALTHY, **more: object) -> DeviceEntry:
    return DeviceEntry("train", "gpu.example.com", "node-1", device, health, entry="claim:gpus", claim="gpus", since=NOON, **more)  # type: ignore[arg-type]


texts = st.text(max_size=200)
times = st.none() | st.floats(min_value=0, max_value=4e9).map(moment)
faults = st.builds(FaultEntry, st.sampled_from(Health), texts, st.text(max_size=20), times, times, st.booleans())
entries = st.builds(
    DeviceEntry,
    *[st.text(max_size=63)] * 4,
    st.sampled_from(Health),
    message=texts,
    action=st.text(max_size=20),
    since=times,
    faults=st.lists(faults, max_size=3).map(tuple),
)


@given(st.lists(entries, max_size=4))
def test_what_is_written_is_read_again(some: list[DeviceEntry]) -> None:
    read = decode(PodDevices("node-1", "0.1.0", tuple(some)).encode())
    assert read.entries == tuple(sorted(some, key=lambda entry: entry.rank))


@given(
    st.lists(entries, max_size=4, unique_by=lambda entry: entry.rank[2:]).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    )
)
def test_identical_states_are_identical_bytes(orders: tuple[list[DeviceEntry], list[DeviceEntry]]) -> None:
    one, other = (PodDevices("node-1", entries=tuple(order)).encode() for order in orders)
    assert one == other


@given(st.lists(entries, max_size=20), st.integers(min_value=1, max_value=80))
def test_the_annotation_never_exceeds_its_limit_and_loses_no_count(some: list[DeviceEntry], times_over: int) -> None:
    text = PodDevices("node-1", entries=tuple(some * times_over)).encode()
    assert len(text.encode()) <= ANNOTATION_LIMIT
    read = decode(text)
    assert len(read.entries) + read.omitted.total == len(some) * times_over


def test_the_worst_come_first_and_healthy_ones_are_counted_first() -> None:
    many = [an_entry(f"gpu-{n}", message="m" * 200) for n in range(1000)]
    many[700] = an_entry("gpu-700", Health.UNHEALTHY, message="Xid 79")
    many[800] = an_entry("gpu-800", Health.UNKNOWN)
    many[900] = an_entry("gpu-900", faults=(FaultEntry(Health.UNHEALTHY, "NVLink down", start=NOON, until=NOON),))
    read = decode(PodDevices("node-1", entries=tuple(many)).encode())
    assert [entry.device for entry in read.entries[:3]] == ["gpu-700", "gpu-800", "gpu-900"]
    assert read.omitted == Omitted(healthy=1000 - len(read.entries))


def test_messages_are_cut_before_an_unhealthy_device_is_left_out() -> None:
    many = tuple(an_entry(f"gpu-{n}", Health.UNHEALTHY, message="x" * 1024) for n in range(120))
    read = decode(PodDevices("node-1", entries=many).encode())
    assert len(read.entries) == 120
    assert read.omitted == Omitted()


def test_a_later_version_is_understood() -> None:
    document = json.loads(PodDevices("node-1", entries=(an_entry(health=Health.UNHEALTHY, action="reboot"),)).encode())
    assert set(document) == {"node", "devices"}
    document["colour"] = {"new": True}
    document["devices"][0]["temperature"] = 3
    (entry,) = decode(json.dumps(document)).entries
    assert (entry.key, entry.action) == (DeviceKey("gpu.example.com", "node-1", "gpu-0"), "reboot")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"node":1}', '{"node":"n","devices":[{"device":"d"}]}', "\ud800"])
def test_garbage_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"annotation podvitals.dev/devices of pod ml/a "):
        decode(text, "ml/a")


def test_times_are_rfc_3339_in_utc() -> None:
    document = json.loads(PodDevices("node-1", entries=(an_entry(),)).encode())
    assert document["devices"][0]["since"] == "2027-01-15T08:00:00.123000Z"


@pytest.mark.parametrize("unix", [-1e300, 1e300, float("nan"), float("-inf"), float("inf")])
def test_impossible_times_become_the_ends_of_the_calendar(unix: float) -> None:
    assert moment(unix) in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(microsecond=999000, tzinfo=UTC))
