"""Names are refused as Kubernetes would refuse them; messages from another party are made safe."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey, check_device_name, check_driver_name, check_pool_name
from podvitals.device.text import LONGEST_MESSAGE, clean
from podvitals.device.verdict import lease_seconds
from podvitals.errors import InvalidInput

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(labels, st.lists(labels, min_size=1, max_size=3).map("/".join), labels)
def test_a_key_is_read_back_from_its_text_even_with_slashes_in_the_pool(driver: str, pool: str, device: str) -> None:
    key = DeviceKey(driver, pool, device)
    assert DeviceKey.parse(str(key)) == key
    assert key.matches(device)
    assert key.matches(str(key))


def test_a_tail_matches_whole_parts_only() -> None:
    key = DeviceKey("gpu.example.com", "node1", "gpu-13")
    assert key.matches("node1/gpu-13")
    assert not key.matches("3")
    assert not key.matches("pu-13")


@pytest.mark.parametrize("text", ["", "gpu-1", "a/b", "/b/c", "a//c", "a/b/"])
def test_a_text_that_names_no_device_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="driver/pool/device"):
        DeviceKey.parse(text)


@pytest.mark.parametrize("name", ["", "GPU-1", "gpu_1", "-a", "a-", "a.b", "x" * 64, "gpu 1", "gpu\n"])
def test_a_device_name_kubernetes_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="DNS label"):
        check_device_name(name)


def test_names_kubernetes_accepts_are_accepted() -> None:
    assert check_device_name("x" * 63) == "x" * 63
    assert check_driver_name("gpu.example.com") == "gpu.example.com"
    assert check_pool_name("node-1.example/rack-2") == "node-1.example/rack-2"
    for bad in ("a" * 64, "a..b", "a_b", ""):
        with pytest.raises(InvalidInput):
            check_driver_name(bad)
    for bad in ("", "a//b", "/a", "A", "a" * 254):
        with pytest.raises(InvalidInput):
            check_pool_name(bad)


@given(st.text(alphabet=st.characters(), max_size=3000), st.integers(8, 2000))
def test_a_cleaned_message_fits_is_one_visible_line_and_stays_as_it_is(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned.encode()) <= limit
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in cleaned)
    assert clean(cleaned, limit) == cleaned


def test_what_was_cut_says_so_and_terminal_escapes_are_visible() -> None:
    assert clean("é" * 1000).endswith("...")
    assert len(clean("é" * 1000).encode()) >= LONGEST_MESSAGE - 2
    assert clean("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"
    assert clean("Xid 79: GPU has fallen off the bus") == "Xid 79: GPU has fallen off the bus"


def test_a_lease_is_clamped_and_nonpositive_means_the_default() -> None:
    assert [lease_seconds(s) for s in (-5, 0, 0.2, 15, 10**12)] == [30, 30, 1, 15, 86400]


def test_known_broken_outranks_unknown_and_nothing_known_is_unknown() -> None:
    assert Health.worst([Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY]) is Health.UNHEALTHY
    assert Health.worst([Health.HEALTHY, Health.UNKNOWN]) is Health.UNKNOWN
    assert Health.worst([]) is Health.UNKNOWN
