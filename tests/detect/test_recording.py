"""What came from the hardware, written down and run again; and what is left out of it on request."""

import dataclasses
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.detect.anonymise import Anonymiser
from podvitals.detect.detector import Device, Version
from podvitals.detect.record import Recorder
from podvitals.detect.recording import Failed, Found, Heard, Named, Record, Taken, Writing, read_recording, signal_document, signal_of
from podvitals.detect.replay import Replay
from podvitals.detect.rules.load import builtin, read_rules
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import Code, Count, Level, Signal, State, Unread
from podvitals.device.health import Health
from podvitals.errors import InvalidInput, LocalError

text = st.text(max_size=8)
signals = st.one_of(
    st.builds(
        Code,
        text,
        text,
        text,
        st.lists(st.tuples(text, text), max_size=2, unique_by=lambda pair: pair[0]).map(tuple),
        st.sampled_from([0.0, 1.5]),
    ),
    st.builds(Count, text, st.integers(0, 2**64), text),
    st.builds(State, text, text, text, text),
    st.builds(Level, text, st.sampled_from([0.0, 2.5, 16.0]), text),
    st.builds(Unread, text, text, text),
)
GPU = Device("gpu-a", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0", "lanes": 16, "ok": True, "v": Version("1.2.3")}, handle="h")
DISK = Device("disk-b")
RECORDS: list[Record] = [
    Found(100.0, "nvidia", (GPU,)),
    Found(100.0, "block", (DISK,)),
    Taken(100.1, "nvidia", "gpu-a", (State("nvidia.presence", "present"),), whole=True),
    Taken(100.1, "block", "disk-b", (Count("block.ioerr_cnt", 5),), whole=True),
    Taken(105.1, "nvidia", "gpu-a", (State("nvidia.presence", "present"),), whole=True),
    Taken(105.1, "block", "disk-b", (Count("block.ioerr_cnt", 6),), whole=True),
    Taken(
        107.0,
        "nvidia",
        "gpu-a",
        (Code("xid", "79", "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."),),
        whole=False,
    ),
    Failed(110.0, "nvidia", "gpu-a", "GPU is lost"),
]


def lines(records: list[Record]) -> list[str]:
    writing = Writing("0.1.0")
    return [writing.head, *map(writing.line, records)]


@given(signals)
def test_every_signal_is_written_and_read_back_as_it_was(signal: Signal) -> None:
    assert signal_of(json.loads(json.dumps(signal_document(signal)))) == signal


def test_a_recording_reads_back_as_it_was_with_times_from_its_beginning() -> None:
    back = list(read_recording(lines(RECORDS), "r"))
    assert [round(record.at + 100.0, 3) for record in back] == [record.at for record in RECORDS]
    assert [type(record) for record in back] == [type(record) for record in RECORDS]
    assert isinstance(back[0], Found)
    assert back[0].devices == (GPU,)
    assert [record.signals for record in back if isinstance(record, Taken)] == [r.signals for r in RECORDS if isinstance(r, Taken)]


def test_a_reading_that_is_as_before_costs_one_short_line() -> None:
    assert json.loads(lines(RECORDS)[5]) == {"at": 5.1, "family": "nvidia", "device": "gpu-a", "same": True}


def test_a_recording_is_replayed_to_the_verdicts_it_led_to() -> None:
    replay = Replay(builtin(), read_recording(lines(RECORDS), "r"))
    told = [(round(c.at, 1), c.now.key.device, c.now.health, c.now.message) for c in replay.run() if c.before is not None]
    fallen = "Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)"
    assert told == [
        (5.1, "disk-b", Health.HEALTHY, "commands failed (ioerr_cnt)"),
        (7.0, "gpu-a", Health.UNHEALTHY, fallen),
        (10.0, "gpu-a", Health.UNHEALTHY, f"{fallen}; cannot read nvidia: GPU is lost"),
    ]
    by_name = {one.device.name: one for one in replay.findings()}
    assert by_name["gpu-a"].rules == ("xid.79",)
    assert by_name["disk-b"].values == {"block": {"block.ioerr_cnt": "6"}}


XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
NAMES = Named(100.0, "kmsg", (("gpu-a", (("pci", "0000:3b:00.0"), ("driver", "nvidia"))),))
LOG: list[Record] = [
    Found(100.0, "kmsg", (GPU,)),
    NAMES,
    Taken(100.1, "kmsg", "gpu-a", (Count("kmsg.lost", 0),), whole=True),
    Heard(103.0, "kmsg", "ourgpu 0000:3b:00.0: brownout 3", (("DEVICE", "+pci:0000:3b:00.0"), ("SUBSYSTEM", "pci")), 1.5),
    Heard(107.0, "kmsg", XID[:40], caller="C1"),
    Heard(107.0, "kmsg", XID, (), 0.0, True, "C1"),
    Taken(107.0, "kmsg", "gpu-a", (Code("xid", "79", XID),), whole=False),
    Heard(108.0, "kmsg", XID + " Ask.", (), 0.0, True, "C1"),
]
OURS = """
[lines.brownout]
has = "brownout"
pattern = 'ourgpu \\S+: brownout (?P<level>\\d+)'

[ours.brownout]
match = { table = "kmsg", code = "brownout" }
class = "degraded"
message = "brownout of level {level}"
expires = "1h"
"""


def told(rules: Rules, records: list[Record]) -> list[tuple[float, str]]:
    replay = Replay(rules, read_recording(lines(records), "r"))
    return [(round(change.at, 1), change.now.message) for change in replay.run() if change.before is not None or change.now.message]


def test_lines_of_the_log_and_the_names_of_devices_in_it_read_back_as_they_were() -> None:
    back = list(read_recording(lines(LOG), "r"))
    assert [record for record in back if isinstance(record, Named | Heard)] == [
        type(record)(*(round(value - 100.0, 3) if name == "at" else value for name, value in fields(record)))
        for record in LOG
        if isinstance(record, Named | Heard)
    ]


def fields(record: Record) -> list[tuple[str, Any]]:
    return [(one.name, getattr(record, one.name)) for one in dataclasses.fields(record)]


def test_the_replay_reads_the_recorded_lines_again_and_tells_of_each_once() -> None:
    assert told(builtin(), LOG) == [(7.0, "Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)")]
    replay = Replay(builtin(), read_recording(lines(LOG), "r"))
    list(replay.run())
    assert replay.findings()[0].counts == {"xid.79": 1}, "not once more by what was told of it when it was recorded"


def test_a_new_pattern_is_tried_on_lines_that_meant_nothing_when_they_were_recorded() -> None:
    ours = read_rules(OURS, "ours.toml", builtin(), origin="ours.toml")
    assert told(ours, LOG)[0] == (3.0, "brownout of level 3")


def test_a_pattern_of_ones_own_takes_away_what_the_built_in_one_said() -> None:
    quiet = read_rules("[lines.xid]\nhas = 'never said'\n", "ours.toml", builtin(), origin="ours.toml")
    assert told(quiet, LOG) == []


def test_a_recording_without_lines_keeps_what_they_said() -> None:
    older = lines([record for record in LOG if not isinstance(record, Named | Heard)])
    older[0] = older[0].replace('"format": 2', '"format": 1')
    assert '"format": 1' in older[0]
    assert [change.now.health for change in Replay(builtin(), read_recording(older, "r")).run()][-1] is Health.UNHEALTHY


def test_what_was_serviced_is_kept_though_no_line_said_so() -> None:
    serviced = Taken(110.0, "kmsg", "gpu-a", (Code("life", "service"),), whole=False)
    assert told(builtin(), [*LOG, serviced])[-1] == (10.0, "")


def test_a_recording_whose_beginning_is_lost_is_replayed_all_the_same() -> None:
    replay = Replay(builtin(), RECORDS[4:])
    assert [change.now.health for change in replay.run()][-1] is Health.UNHEALTHY


HEAD = lines([])[0]
LINE = "r:2: this is no line of a recording"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ([], "r is no recording: it is empty"),
        (["{}"], "r is no recording: its first line does not say that it is one"),
        (["[]"], "r is no recording: its first line does not say that it is one"),
        (["\x7fELF"], "r is no recording: its first line does not say that it is one"),
        ([json.dumps({"podvitals": "recording", "format": 99})], "its format is 99, this podvitals reads 1 to 2"),
        ([HEAD, "nonsense\n"], LINE),
        ([HEAD, '{"at": 1, "family": "f"}\n'], f"{LINE} (KeyError: 'device')"),
        ([HEAD, '{"at": 1, "family": "f", "device": "d", "same": true}\n'], LINE),
        ([HEAD, '{"at": NaN, "family": "f", "device": "d", "failed": "x"}\n'], f"{LINE} (ValueError: at nan is no time)"),
        ([HEAD, '{"at": 1, "family": "f", "device": "\\u001b[2J", "failed": "x"}\n'], f"{LINE} (device name '\\x1b[2J' is not a DNS label"),
        ([HEAD, '{"at": 1, "family": "f", "found": [{"name": "A", "attributes": {}, "handle": ""}]}\n'], f"{LINE} (device name 'A' is not"),
        ([HEAD, "[1]\n"], LINE),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(broken: list[str], why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        list(read_recording(broken, "r"))
    assert why in str(refused.value)


def test_a_recording_that_was_cut_in_its_last_line_is_read_up_to_there() -> None:
    whole = [f"{line}\n" for line in lines(RECORDS)]
    for end in range(1, len(whole[-1])):
        assert list(read_recording([*whole[:-1], whole[-1][:end]], "r"))[:7] == list(read_recording(whole[:-1], "r"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_somebody_makes_of_a_recording_it_is_refused_or_replayed(data: st.DataObject) -> None:
    documents = [json.loads(line) for line in lines([*RECORDS, *LOG])]
    at: Any = documents[data.draw(st.integers(1, len(documents) - 1))]
    while True:
        key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(json_values)
    broken = [f"{json.dumps(document)}\n" for document in documents]
    with suppress(InvalidInput):
        replay = Replay(builtin(), read_recording(broken, "r"))
        list(replay.run())
        replay.findings()


def test_threads_that_tell_at_once_make_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path, "0.1.0") as recorder:
        threads = [threading.Thread(target=lambda: list(map(recorder, RECORDS))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(read_recording(path.read_text().splitlines(), "r"))) == 8 * len(RECORDS)


def test_a_recording_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot write recording"), Recorder(tmp_path / "no" / "r", "0.1.0"):
        pass
    with pytest.raises(LocalError, match="is not whole: No space left on device"), Recorder(Path("/dev/full"), "0.1.0") as recorder:
        recorder(RECORDS[0])


SECRETS = {
    "attributes": {
        "serial": "SN-0042-XYZ",
        "uuid": "GPU-b850f46d-d5ea-c752-ddf3-c4453e44d3f7",
        "mac": "aa:bb:cc:dd:ee:ff",
        "wwn": "eui.0025385391b0f21c",
        "resource.kubernetes.io/pciBusID": "0000:3b:00.0",
    }
}


def test_serial_numbers_addresses_programs_and_hosts_are_left_out_and_the_rest_still_means_what_it_meant() -> None:
    found = json.dumps({"at": 0.0, "family": "f", "found": [{"name": "disk-sn-0042-xyz", "handle": "SN-0042-XYZ"} | SECRETS]})
    told = json.dumps(
        {
            "at": 1.0,
            "family": "f",
            "device": "disk-sn-0042-xyz",
            "told": [
                {
                    "code": "13",
                    "table": "xid",
                    "params": {"pid": "4711", "name": "secret-trainer", "pci": "0000:3b:00.0"},
                    "text": "i915 0000:3b:00.0: GPU HANG: ecode 1, in secret-trainer [4711]; errors in umc; "
                    "pid=4711, name=secret-trainer, on big-host at 10.1.2.3 with aa:bb:cc:dd:ee:ff",
                }
            ],
        }
    )
    anonymiser = Anonymiser("big-host")
    clean = [anonymiser.line(found), anonymiser.line(told)]
    for secret in ("0042", "b850f46d", "aa:bb", "0025385391", "secret-trainer", "4711", "big-host", "10.1.2.3"):
        assert secret not in "".join(clean), secret
    assert "0000:3b:00.0" in clean[0]
    assert "errors in umc" in clean[1]
    assert json.loads(clean[0])["found"][0]["name"] == json.loads(clean[1])["device"]
    assert json.loads(clean[1])["told"][0]["code"] == "13"


def test_an_anonymised_recording_is_replayed_to_the_same_verdicts() -> None:
    anonymiser = Anonymiser("host")
    clean = [anonymiser.line(line) for line in lines(RECORDS)]
    assert "python" not in "".join(clean)

    def healths(said: list[str]) -> list[tuple[float, Health]]:
        return [(change.at, change.now.health) for change in Replay(builtin(), read_recording(said, "r")).run()]

    assert healths(clean) == healths(lines(RECORDS))


def test_in_a_line_of_the_log_the_names_of_devices_stay_and_what_tells_machines_apart_goes() -> None:
    disk = Device("disk-s64hne0r500123", {"serial": "S64HNE0R500123"})
    records: list[Record] = [
        Found(0.0, "kmsg", (disk,)),
        Named(0.0, "kmsg", (("disk-s64hne0r500123", (("block", "sda"), ("number", "8:0"))),)),
        Heard(1.0, "kmsg", "sda: S64HNE0R500123 of host big-host, 0000:3b:00.0", (("DEVICE", "b8:0"),)),
        Heard(2.0, "kmsg", "IN=eth0 MAC=aa:bb:cc:dd:ee:ff SRC=2001:0db8:0000:0000:0000:ff00:0042:8329 DST=fe80::1 ID=10.1.2.3"),
        Heard(3.0, "kmsg", "nvme nvme0: I/O tag 258 (0102) 12:03:04 timeout, comm: secret-trainer pid=4711"),
    ]
    anonymiser = Anonymiser("big-host")
    clean = [anonymiser.line(one) for one in lines(records)]
    for secret in ("S64HNE", "s64hne", "big-host", "aa:bb", "2001:", "fe80", "10.1.2.3", "secret-trainer", "4711"):
        assert secret not in "".join(clean), secret
    for kept in ("sda: ", "0000:3b:00.0", "b8:0", "nvme nvme0: I/O tag 258 (0102) 12:03:04 timeout"):
        assert kept in "".join(clean), kept
    (named,) = (record for record in read_recording(clean, "r") if isinstance(record, Named))
    (found,) = (record for record in read_recording(clean, "r") if isinstance(record, Found))
    assert [named.names[0][0]] == [device.name for device in found.devices]
