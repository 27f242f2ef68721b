"""Device selectors: CEL as Kubernetes extends it, and a failure that names what the lab's CEL lacks."""

import pytest

from podvitals.claim.resource import Attribute, Capacity, SliceDevice
from podvitals.lab.scheduler import selector
from podvitals.lab.scheduler.selector import SelectorFailed, matches, needs_library

GPU = SliceDevice(
    name="gpu-0",
    attributes={
        "model": Attribute(string="T1"),
        "index": Attribute(integer=3),
        "ecc": Attribute(boolean=True),
        "driverVersion": Attribute(version="1.10.0"),
        "topology.example.com/rack": Attribute(string="r7"),
    },
    capacity={"memory": Capacity(value="40Gi")},
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("device.driver == 'gpu.example.com'", True),
        ('device.driver == "other.example.com"', False),
        ('device.attributes["gpu.example.com"].model == "T1"', True),
        ('device.attributes["topology.example.com"].rack == "r7" && device.attributes["gpu.example.com"].ecc', True),
        ('device.attributes["gpu.example.com"].index > 5', False),
        ('"nobody.example.com" in device.attributes', False),
        ('has(device.attributes["nobody.example.com"].model)', False),
        ('device.driver == "other.example.com" && device.attributes["other.example.com"].x == 1', False),
        ('device.capacity["gpu.example.com"].memory.compareTo(quantity("20Gi")) >= 0', True),
        ('device.capacity["gpu.example.com"].memory.isLessThan(quantity("80Gi"))', True),
        ('device.capacity["gpu.example.com"].memory == quantity("40960Mi")', True),
        ('device.attributes["gpu.example.com"].driverVersion.isGreaterThan(semver("1.9.0"))', True),
        ('device.attributes["gpu.example.com"].driverVersion.compareTo(semver("1.10.0")) == 0', True),
        ('device.attributes["gpu.example.com"].model.lowerAscii() in ["t1", "t2"]', True),
    ],
)
def test_expressions_see_the_device_as_upstreams_do(expression: str, expected: bool) -> None:
    assert matches(expression, "gpu.example.com", GPU) is expected


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ('cel.bind(x, device.driver, x == "a")', "uses 'bind', which the lab's CEL does not have"),
        ('device.attributes["gpu.example.com"].model.format([1]) == "x"', "uses 'format'"),
        ('device.attributes["gpu.example.com"].?zz.orValue(1) == 1', "optional syntax"),
        ("device.driver ==", "cannot be read as CEL"),
        ('device.attributes["gpu.example.com"].missing == 1', "no such key: missing"),
        ('device.attributes["nobody.example.com"].model == "T1"', "no such key: model"),
        ("device.driver", "not true or false"),
        ('quantity("many") == quantity("1")', "quantity"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(expression: str, says: str) -> None:
    with pytest.raises(SelectorFailed) as refusal:
        matches(expression, "gpu.example.com", GPU)
    assert says in str(refusal.value)


@pytest.mark.parametrize("expression", ["device.driver == 'gpu.example.com'", ' device.driver=="gpu.example.com" ', "device.driver == 'x'"])
def test_the_shortcut_for_the_commonest_expression_agrees_with_the_library(expression: str) -> None:
    assert not needs_library(expression)
    assert matches(expression, "gpu.example.com", GPU) == selector._evaluate(expression, selector._activation("gpu.example.com", GPU))
