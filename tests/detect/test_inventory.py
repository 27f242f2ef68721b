"""Inventories: what is refused, and how several are joined."""

from pathlib import Path
from typing import Any

import pytest

from podvitals.detect.detector import Detector, Device, Reading, Version, check_detector
from podvitals.detect.inventory import device_name, joined, listing, refusal
from podvitals.errors import InvalidInput


def test_a_device_named_twice_is_kept_once_and_told() -> None:
    found = listing("Toys", [Device("t1", {"model": "a"}), Device("t1", {"model": "b"}), Device("t2")])
    assert set(found.devices) == {"t1", "t2"}
    assert found.problems == {"t1": "Toys lists device t1 twice: names must be unique"}


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (Device("GPU_0"), "device name 'GPU_0' is not a DNS label"),
        (Device("g" * 64), "is not a DNS label"),
        (Device("g", {"9lives": 1}), "attribute name '9lives' is not a C identifier"),
        (Device("g", {"x" * 33: 1}), "is not a C identifier of at most 32"),
        (Device("g", {"Bad_Domain/x": 1}), "'Bad_Domain' is not a DNS subdomain"),
        (Device("g", {"x": "y" * 65}), "is longer than 64 bytes"),
        (Device("g", {"x": 2**63}), "does not fit into 64 bits"),
        (Device("g", {"x": 1.5}), "is neither bool, int, str nor Version"),  # type: ignore[dict-item]
        (Device("g", {"x": Version("v1")}), "is not a semantic version such as 1.2.3"),
        (Device("g", capacity={"memory": "80GB"}), "is not a quantity, such as 8, 80Gi or 500m"),
        (Device("g", {f"a{i}": i for i in range(33)}), "33 attributes and capacities; Kubernetes takes 32"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_by_name(device: Device, why: str) -> None:
    text = refusal(device)
    assert text is not None
    assert why in text
    assert listing("Toys", [device, Device("neighbour")]).devices.keys() == {"neighbour"}


def test_everything_kubernetes_takes_is_taken() -> None:
    device = Device(
        "gpu-0", {"gpu.example.com/model": "T1", "numa": -1, "big": True, "fw": Version("1.2.3-rc.1+x")}, {"memory": "80Gi", "n": 8}
    )
    assert refusal(device) is None


def test_what_is_no_device_is_told_and_skipped() -> None:
    strange: list[Any] = ["gpu-0", Device("t1")]
    assert listing("Toys", strange).devices.keys() == {"t1"}
    assert "which is not a Device" in next(iter(listing("Toys", strange).problems.values()))


def test_two_detectors_attributes_are_put_together() -> None:
    device, problem = joined([("A", Device("g", {"a": 1}, nodes=[Path("/dev/a")])), ("B", Device("g", {"b": "x", "a": 1}, {"m": 1}))])
    assert (device.attributes, device.capacity, device.nodes, device.handle) == ({"a": 1, "b": "x"}, {"m": 1}, (Path("/dev/a"),), "/dev/a")
    assert problem == ""


def test_equal_values_of_other_types_contradict() -> None:
    _, problem = joined([("A", Device("g", {"a": 1})), ("B", Device("g", {"a": True}))])
    assert problem == "A and B contradict each other about device g: attribute a is 1 and True"


def test_the_third_detector_is_set_against_the_one_that_said_it_first() -> None:
    _, problem = joined([("A", Device("g")), ("B", Device("g", {"a": 1})), ("C", Device("g", {"a": 2}))])
    assert problem.startswith("B and C contradict")


def test_names_of_the_system_become_labels() -> None:
    assert [device_name(text) for text in ("eth0.100", "Mlx5_0", "-x-", "a" * 70)] == ["eth0-100", "mlx5-0", "x", "a" * 63]


def test_a_detector_that_could_never_say_anything_is_refused() -> None:
    class Mute(Detector):
        def devices(self) -> list[Device]:
            return []

    class Slow(Mute):
        interval, lease = 60.0, 20.0

        def check(self, device: Device) -> Reading:
            return Reading.healthy()

    with pytest.raises(InvalidInput, match=r"Mute has neither check\(\) nor watch\(\)"):
        check_detector(Mute())
    with pytest.raises(InvalidInput, match="its lease of 20 s ends before its next check in 60 s"):
        check_detector(Slow())


def test_a_detector_whose_functions_are_of_the_wrong_kind_is_refused_with_what_to_write() -> None:
    class Listed(Detector):
        def devices(self) -> list[Device]:
            return []

    class Awaited(Listed):
        async def check(self, device: Device) -> Reading:  # type: ignore[override]
            return Reading.healthy()

    class Asked(Detector):
        async def devices(self) -> list[Device]:  # type: ignore[override]
            return []

        def check(self, device: Device) -> Reading:
            return Reading.healthy()

    class Silent(Listed):
        async def watch(self) -> None:  # type: ignore[override]
            """Forgot to yield."""

    with pytest.raises(InvalidInput, match=r"Awaited: check\(\) is `async def`, .*write a plain `def check`; .*`async def watch`"):
        check_detector(Awaited())
    with pytest.raises(InvalidInput, match="write a plain `def devices`"):
        check_detector(Asked())
    with pytest.raises(InvalidInput, match=r"Silent: watch\(\) has no `yield`"):
        check_detector(Silent())


def test_the_lease_is_three_intervals_in_whole_seconds() -> None:
    detector = Detector()
    for interval, lease in ((5.0, 15.0), (0.1, 1.0), (0.5, 2.0)):
        detector.interval = interval
        assert detector.lease_seconds == lease


def test_a_reading_is_one_printable_line_and_its_action_one_of_the_known() -> None:
    assert Reading.unhealthy("a\nb\x1b[31m").message == "a\\x0ab\\x1b[31m"
    assert Reading.unhealthy(OSError("link down")).message == "link down", "a fault must not become Unknown for this"  # type: ignore[arg-type]
    assert len(Reading.unhealthy("x" * 10_000).message.encode()) == 1024
    with pytest.raises(InvalidInput, match="action 'explode' is none of restart-app, reset-gpu"):
        Reading.unhealthy("x", action="explode")
