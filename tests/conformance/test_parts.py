"""The parts that need no driver: the reader of reports, what follows from an observation, how results are told."""

import asyncio
import contextlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.errors import InvalidInput
from podvitals.testing.conformance.case import Case, Failed, Finding, Outcome, Warned, chosen, exit_code
from podvitals.testing.conformance.driver.observation import Heard, Watcher, gaps
from podvitals.testing.conformance.execute import execute
from podvitals.testing.conformance.node.gallery import Gallery
from podvitals.testing.conformance.node.puppet import Puppet
from podvitals.testing.conformance.node.reading import Shown, entries, shown
from podvitals.testing.conformance.node.settings import NodeSettings
from podvitals.testing.conformance.node.sight import Sight
from podvitals.testing.conformance.node.stage import to_the_end
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY, Garbled, RawDevice, read_report, write_report
from podvitals.testing.conformance.report import document, junit, milliseconds, summary
from podvitals.wire.convert import decode_report, encode_report
from podvitals.wire.messages import DeviceReport

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
DEVICES = st.builds(RawDevice, st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 9), INT64, INT64, st.binary(max_size=300))


# ── Reports, byte for byte ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(DEVICES, max_size=5))
def test_what_is_written_is_read(devices: list[RawDevice]) -> None:
    assert list(read_report(write_report(devices))) == devices


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_garbled(raw: bytes) -> None:
    with contextlib.suppress(Garbled):
        read_report(raw)


def test_the_reader_and_the_wire_mean_the_same_bytes() -> None:
    said = DeviceReport("node1", "d0", Health.UNHEALTHY, 1000.0, 30.0, "fell off the bus – ü")
    (raw,) = encode_report([said])
    (read,) = read_report(raw)
    assert read == RawDevice(b"node1", b"d0", UNHEALTHY, 1000, 30, "fell off the bus – ü".encode())
    assert decode_report(write_report([read])).devices == (said,)


def test_an_entry_without_a_device_is_told_from_one_with_an_empty_name() -> None:
    devices = [RawDevice(None, None, HEALTHY), RawDevice(b"", b"d0", HEALTHY)]
    assert list(read_report(write_report(devices))) == devices


# ── What was heard ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def heard(*reports: tuple[float, RawDevice]) -> Watcher:
    return Watcher("v1", 0.0, [Heard(at, write_report([device])) for at, device in reports])


def test_a_silence_is_measured_against_the_lease_the_device_had_then() -> None:
    watcher = heard(
        (0.0, RawDevice(b"p", b"d0", HEALTHY, 1, 10)), (4.0, RawDevice(b"p", b"d0", HEALTHY, 2, 2)), (5.0, RawDevice(b"p", b"d1"))
    )
    worst = {gap.device.name: gap for gap in gaps(watcher, 7.0)}
    assert (worst["p/d0"].silent, worst["p/d0"].lease, worst["p/d0"].late) == (3.0, 2.0, True)
    assert (worst["p/d1"].silent, worst["p/d1"].lease, worst["p/d1"].late) == (2.0, 30.0, False)


def test_a_report_that_cannot_be_read_costs_no_other() -> None:
    watcher = heard((0.0, RawDevice(b"p", b"d0", HEALTHY)))
    watcher.heard.append(Heard(1.0, b"\x0a\xff"))
    assert set(watcher.state()) == {(b"p", b"d0")}
    assert watcher.garbled == ["report 2, 2 bytes: a number that does not end"]


# ── What a pod shows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pod(status: str, message: str, annotated: str = "") -> dict[str, object]:
    condition = {"type": "podvitals.dev/DevicesHealthy", "status": status, "message": message}
    return {"metadata": {"annotations": {"podvitals.dev/devices": annotated or "{}"}}, "status": {"conditions": [condition]}}


ENTRY = '{"devices": [{"container": "main", "driver": "a", "pool": "n", "device": "d0", "health": "Healthy"}]}'


def test_the_condition_is_believed_where_the_annotation_is_older() -> None:
    late = pod("False", "1 of 2 devices unhealthy; a/n/d0: broken", ENTRY)
    assert shown(late, "condition", ["a/n/d0"]) == Shown("Unhealthy", "broken")
    assert shown(pod("True", "1 device healthy", ENTRY), "condition", ["a/n/d0"]) == Shown("Healthy")
    assert shown(pod("False", "1 of 2 devices unhealthy; a/n/d1: broken", ENTRY), "condition", ["a/n/d0"]) == Shown("Healthy")


def test_of_a_devices_entries_the_worst_is_what_is_shown() -> None:
    resources = [{"resourceID": "a/n/d0", "health": "Healthy"}, {"resourceID": "a/n/d0", "health": "Unhealthy", "message": "broken"}]
    status = {"containerStatuses": [{"name": "main", "allocatedResourcesStatus": [{"name": "claim:x", "resources": resources}]}]}
    assert len(entries({"status": status}, "field")) == 2
    assert shown({"status": status}, "field", ["a/n/d0"]) == Shown("Unhealthy", "broken")
    assert shown({"status": status}, "field", ["a/n/d1"]) is None


@pytest.mark.parametrize(("told", "do"), [("", "let first-report pass"), (ENTRY, "")])
async def test_a_case_whose_beginning_never_comes_says_so_and_not_what_it_would_have_tried(told: str, do: str) -> None:
    gallery = Gallery(None, "conformance")  # type: ignore[arg-type]
    gallery._seen["p"] = [(0.0, pod("True", "1 device healthy", told))] if told else []
    settings = NodeSettings(Path(), "n", "condition", patience=0.0, begins=0.0)
    driver = Puppet(Path("/none/plugins_registry"), "a", "n", None)  # type: ignore[arg-type]
    with pytest.raises(Failed, match="it could not be tried: d0 is not shown Unhealthy") as failed:
        await Sight(gallery, settings, "p").ready(driver, "d0", "Unhealthy")
    assert failed.value.do.startswith(do)
    assert bool(failed.value.do) is bool(do)


# ── Cases and results ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def fails(_: None) -> str:
    raise Failed("it was <not> so\x00")


async def warns(_: None) -> str:
    raise Warned("nearly", "look again", ms=73_500.0)


async def passes(_: None) -> Finding:
    return Finding(Outcome.PASS, "so", ms=7.25)


CASES = [Case(run.__name__, "It is so.", "CONTRACT §1", "make it so", run) for run in (fails, warns, passes)]


async def test_results_are_told_in_the_order_of_the_cases_and_a_failure_is_the_exit_code() -> None:
    results = await execute(CASES, None, limit=5)
    assert [result.name for result in results] == ["fails", "warns", "passes"]
    assert (exit_code(results), exit_code(results[1:])) == (1, 0)
    assert summary(results) == "3 cases: 1 pass, 1 fail, 1 warn"
    assert [case["do"] for case in document("x", results)["cases"]] == ["make it so", "look again", ""]


async def test_the_junit_report_is_xml_that_counts_right_whatever_was_seen() -> None:
    root = ElementTree.fromstring(junit("a driver", await execute(CASES, None, limit=5)))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "0")
    failure = suite.find("testcase[@name='fails']/failure")
    assert failure is not None
    assert failure.get("message") == "it was <not> so\\x00"
    assert "Do:   make it so" in (failure.text or "")


async def test_a_case_that_never_ends_fails_at_its_limit() -> None:
    async def waits(_: None) -> str:
        await asyncio.Event().wait()
        return ""

    (result,) = await execute([Case("waits", "", "", "do not", waits)], None, limit=0.05)
    assert (result.outcome, result.finding.seen, result.finding.do) == (Outcome.FAIL, "no outcome within 0.05 s", "do not")


def test_a_pattern_that_matches_no_case_is_wrong_input() -> None:
    assert [case.name for case in chosen(CASES, ["*a*s"], ["passes"])] == ["fails", "warns"]
    with pytest.raises(InvalidInput, match="no case is called 'lease-\\*'"):
        chosen(CASES, ["lease-*"])


def test_times_are_told_to_three_digits() -> None:
    assert [milliseconds(ms) for ms in (None, 7.25, 310.4, 73_512.0)] == ["", "7.2 ms", "310 ms", "73.5 s"]


async def test_clearing_away_goes_to_its_end_though_its_caller_is_cancelled_in_it() -> None:
    begun, cleared = asyncio.Event(), []

    async def clear() -> None:
        begun.set()
        for step in range(3):
            await asyncio.sleep(0)
            cleared.append(step)

    caller = asyncio.create_task(to_the_end(clear()), name="a case at its end")
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert cleared == [0, 1, 2]
