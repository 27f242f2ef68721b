"""What Prometheus is told, whatever devices call themselves."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from podvitals.detect.detector import Device
from podvitals.detect.exposition import exposition, product
from podvitals.detect.findings import Finding
from podvitals.detect.rules.rule import Rules
from podvitals.device.text import clean


@given(st.text(min_size=1))
def test_any_name_of_a_product_comes_out_in_one_harmless_line(text: str) -> None:
    told = exposition([Finding(Device("d", {"model": text}), None)], Rules())
    assert not {unicodedata.category(character) for character in told.replace("\n", "")} & {"Cc", "Cf", "Zl", "Zp"}
    (health,) = (family for family in text_string_to_metric_families(told) if family.name == "podvitals_detect_device_health")
    (sample,) = health.samples
    shown = "" if text == "pci" else clean(text)
    assert (sample.labels["product"], sample.labels["health"], sample.value) == (shown, "Unknown", 1)


def test_a_product_is_what_a_person_would_call_it() -> None:
    def called(**attributes: str) -> str:
        return product(Finding(Device("d", attributes), None))

    assert called(type="gpu", model="M", productName="H200") == "H200"
    assert called(type="nic", driver="mlx5_core") == "nic"
    assert called(type="pci", driver="virtio-pci") == "virtio-pci", "that it is a PCI device says nothing"
    assert called() == ""
