"""What becomes of a health report that is not as it should be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.text import LONGEST_MESSAGE
from podvitals.errors import InvalidInput, PluginProtocolError
from podvitals.wire.convert import MOST_DEVICES, decode_report, encode_report
from podvitals.wire.messages import REPORT_LIMIT, DeviceReport
from podvitals.wire.services import prepare_method, watch_method
from tests.wire.test_golden import field

GOOD = DeviceReport("node1", "gpu-0", Health.HEALTHY, 1000.0, 30.0)
GOOD_BYTES = encode_report([GOOD])[0]


def entry(pool: str | bytes = "node1", device: str | bytes = "gpu-3", *more: bytes) -> bytes:
    return field(1, field(1, field(1, pool) + field(2, device)) + b"".join(more))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (field(1, b""), "an entry names no device"),
        (field(1, field(2, 2)), "an entry names no device"),
        (entry("", "gpu-3"), "pool name ''"),
        (entry("node1", ""), "device name ''"),
        (entry("node1", "GPU_3"), "device name 'GPU_3' is not a DNS label"),
        (entry("node1", "gpu\n\x1b[31m3"), r"device name 'gpu\n\x1b[31m3' is not"),
        (entry(b"\xff", "gpu-3"), "pool name '\N{REPLACEMENT CHARACTER}'"),
        (entry("node1", "g" * 5000), "is not a DNS label"),
    ],
)
def test_an_entry_that_names_no_device_is_refused_and_its_neighbours_stay(bad: bytes, why: str) -> None:
    report = decode_report(GOOD_BYTES + bad + entry())
    assert [device.device for device in report.devices] == ["gpu-0", "gpu-3"]
    (refusal,) = report.refusals
    assert why in refusal
    assert len(refusal.encode()) <= LONGEST_MESSAGE
    assert refusal.isprintable()


def test_a_health_nobody_knows_is_unknown_and_said_so() -> None:
    report = decode_report(entry("node1", "gpu-3", field(2, 7)) + entry("node1", "gpu-4", field(2, 9), field(5, "why")))
    assert [(device.health, device.message) for device in report.devices] == [
        (Health.UNKNOWN, "the driver reported health 7, which does not exist"),
        (Health.UNKNOWN, "why"),
    ]
    assert len(report.refusals) == 2


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_a_device_named_twice_the_worst_is_taken(order: tuple[int, int]) -> None:
    report = decode_report(b"".join(entry("node1", "gpu-3", field(2, health)) for health in order))
    assert [device.health for device in report.devices] == [Health.UNHEALTHY]
    assert report.refusals == ("device node1/gpu-3 is named more than once in one report: the worst is taken",)


def test_one_device_name_in_two_pools_is_two_devices() -> None:
    report = decode_report(entry("node1/a", "gpu-3", field(2, 1)) + entry("node1/b", "gpu-3", field(2, 2)))
    assert [device.health for device in report.devices] == [Health.HEALTHY, Health.UNHEALTHY]
    assert report.refusals == ()


def test_text_that_is_not_utf8_is_repaired() -> None:
    (device,) = decode_report(entry("node1", "gpu-3", field(5, b"bad \xff\xfe text"), field(1001, b"\xff"))).devices
    assert device.message == "bad \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} text"
    assert device.action == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("character", ["x", "ä", "\N{PILE OF POO}", "\x1b"])
def test_a_message_of_ten_thousand_characters_is_cut_at_one(character: str) -> None:
    (device,) = decode_report(entry("node1", "gpu-3", field(5, character * 10_000))).devices
    assert LONGEST_MESSAGE - 8 <= len(device.message.encode()) <= LONGEST_MESSAGE
    assert device.message.endswith("...")


def test_control_characters_in_a_message_are_made_visible() -> None:
    (device,) = decode_report(entry("node1", "gpu-3", field(5, "a\r\n\x1b[2Jb\N{RIGHT-TO-LEFT OVERRIDE}"))).devices
    assert device.message == r"a\x0d\x0a\x1b[2Jb\u202e"


@pytest.mark.parametrize(("said", "taken"), [(0, 0.0), (2**64 - 5, 0.0), (253402300800, 0.0), (2**63 - 1, 0.0), (1_700_000_000, 1.7e9)])
def test_a_time_that_does_not_exist_is_not_said(said: int, taken: float) -> None:
    (device,) = decode_report(entry("node1", "gpu-3", field(3, said))).devices
    assert device.checked_at == taken


@pytest.mark.parametrize(("said", "taken"), [(0, 0.0), (2**64 - 5, -5.0), (2**63 - 1, float(2**63 - 1))])
def test_a_lease_is_passed_on_as_asked(said: int, taken: float) -> None:
    (device,) = decode_report(entry("node1", "gpu-3", field(4, said))).devices
    assert device.lease == taken


def test_fields_of_the_future_are_skipped() -> None:
    assert decode_report(entry("node1", "gpu-0", field(2, 1), field(3, 1000), field(4, 30), field(6, "new"), field(999, 5))).devices == (
        GOOD,
    )


def test_an_empty_report_is_a_report() -> None:
    assert encode_report([]) == [b""]
    assert decode_report(b"").devices == ()


def test_what_is_no_protobuf_is_an_error_of_the_driver() -> None:
    with pytest.raises(PluginProtocolError, match="3 bytes is not a NodeWatchResourcesResponse"):
        decode_report(b"\x0a\xff\x01")


def test_many_refusals_are_counted_and_many_entries_bounded() -> None:
    report = decode_report(GOOD_BYTES + field(1, b"") * (MOST_DEVICES + 10))
    assert report.devices == (GOOD,)
    assert len(report.refusals) == 22
    assert report.refusals[0] == f"a report of more than {MOST_DEVICES} entries: only the first {MOST_DEVICES} are read"
    assert report.refusals[-1] == f"and {MOST_DEVICES - 21} more entries"
    assert report.refused == MOST_DEVICES


def test_a_large_report_is_split_below_the_limit_and_loses_nothing() -> None:
    devices = [DeviceReport("node1", f"gpu-{number}", Health.UNHEALTHY, 1000.0, 30.0, "x" * 1000) for number in range(3000)]
    reports = encode_report(devices)
    assert len(reports) == 3
    assert all(len(raw) <= REPORT_LIMIT for raw in reports)
    assert max(len(raw) for raw in reports) > 0.99 * REPORT_LIMIT
    assert [device for raw in reports for device in decode_report(raw).devices] == devices


def test_only_services_that_exist_have_methods() -> None:
    with pytest.raises(InvalidInput, match=r"one of v1.DRAPlugin, v1beta1.DRAPlugin"):
        prepare_method("v1.DRAResourceHealth")
    with pytest.raises(InvalidInput, match="DRAResourceHealth"):
        watch_method("v2.DRAResourceHealth")


NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60)
REPORTS = st.builds(
    DeviceReport,
    NAMES,
    NAMES,
    st.sampled_from(Health),
    st.integers(0, 253402300799).map(float),
    st.integers(0, 10**9).map(float),
    PRINTABLE,
    PRINTABLE.map(lambda text: text[:30]),
)


@given(st.lists(REPORTS, unique_by=lambda report: (report.pool, report.device)))
def test_reports_survive_the_wire(devices: list[DeviceReport]) -> None:
    report = decode_report(b"".join(encode_report(devices)))
    assert report.devices == tuple(devices)
    assert report.refusals == ()


@given(st.builds(DeviceReport, NAMES, NAMES, st.sampled_from(Health), st.floats(-1e30, 1e30), st.floats(-1e30, 1e30), st.text(), st.text()))
def test_whatever_a_detector_says_can_be_sent(device: DeviceReport) -> None:
    (sent,) = decode_report(encode_report([device])[0]).devices
    assert (sent.pool, sent.device, sent.health) == (device.pool, device.device, device.health)
    assert sent.lease >= min(device.lease, 2.0**62)


@given(st.lists(st.one_of(st.binary(max_size=60).map(lambda raw: field(1, raw)), st.binary(max_size=20))).map(b"".join))
def test_no_bytes_make_decoding_fail_otherwise(raw: bytes) -> None:
    try:
        report = decode_report(raw)
    except PluginProtocolError:
        return
    assert all(device.message.isprintable() for device in report.devices)
