"""Objects as a real API server sends them become the structs we read; what we do not read is dropped."""

import json

import msgspec
import pytest

from podvitals.claim.cluster import Event
from podvitals.claim.meta import Record
from podvitals.claim.pod import Pod
from podvitals.claim.resource import Attribute, ResourceClaim, ResourceSlice
from podvitals.claim.times import rfc3339, rfc3339_micro, unix


def test_json_names_that_are_not_plain_camel_case_are_spelt_as_kubernetes_does() -> None:
    pod = msgspec.json.decode(
        json.dumps(
            {
                "metadata": {"name": "a"},
                "status": {
                    "containerStatuses": [
                        {
                            "name": "c",
                            "containerID": "fake://1",
                            "allocatedResourcesStatus": [{"name": "claim:g", "resources": [{"resourceID": "v/c=d", "health": "Healthy"}]}],
                        }
                    ]
                },
            }
        ),
        type=Pod,
    )
    status = pod.status.container_statuses[0]
    assert status.container_id == "fake://1"
    assert status.allocated_resources_status[0].resources[0].resource_id == "v/c=d"
    claim = msgspec.convert(
        {"status": {"allocation": {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x", "shareID": "s"}]}}}},
        ResourceClaim,
    )
    assert claim.status.allocation is not None
    assert claim.status.allocation.devices.results[0].share_id == "s"
    assert msgspec.convert({"int": 3}, Attribute).integer == 3
    assert msgspec.convert({"bool": False}, Attribute).boolean is False


def test_encoding_and_decoding_a_slice_gives_it_back() -> None:
    body = {
        "metadata": {"name": "s"},
        "spec": {
            "driver": "d",
            "pool": {"name": "p", "generation": 2, "resourceSliceCount": 3},
            "nodeName": "n",
            "devices": [
                {
                    "name": "x",
                    "attributes": {"model": {"string": "T1"}, "n": {"int": 0}, "b": {"bool": False}},
                    "capacity": {"m": {"value": "1Gi"}},
                }
            ],
        },
    }
    assert json.loads(msgspec.json.encode(msgspec.convert(body, ResourceSlice))) == body


def test_events_with_null_times_are_events() -> None:
    assert msgspec.json.decode(b'{"eventTime": null, "source": {}, "count": 2}', type=Event).count == 2


@pytest.mark.parametrize("struct", Record.__subclasses__(), ids=lambda struct: struct.__name__)
def test_every_struct_is_immutable_and_unknown_to_the_garbage_collector(struct: type[Record]) -> None:
    config = struct.__struct_config__
    assert (config.frozen, config.gc, config.omit_defaults, config.forbid_unknown_fields) == (True, False, True, False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.500000Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01T00:00:00.123456789Z", 0.123456),
        ("1970-01-01T00:00:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_become_unix_seconds(text: str | None, seconds: float | None) -> None:
    assert unix(text) == seconds


def test_times_are_written_as_kubernetes_reads_them() -> None:
    assert rfc3339(1.999) == "1970-01-01T00:00:01Z"
    assert rfc3339_micro(1.5) == "1970-01-01T00:00:01.500000Z"
