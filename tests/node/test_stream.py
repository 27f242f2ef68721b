"""What endpoints that are gone were refused stays with their source, for as many sources as may be remembered."""

from collections import Counter

from podvitals.node.record import SourceKey
from podvitals.node.stream import Gone


def test_the_refusals_of_a_source_outlive_its_endpoints_and_add_up() -> None:
    gone = Gone(2)
    gone.add(SourceKey("gpu.example.com"), Counter({"stream": 1}))
    gone.add(SourceKey("gpu.example.com"), Counter({"stream": 2, "invalid entry": 1}))
    assert gone.of(SourceKey("gpu.example.com")) == {"stream": 3, "invalid entry": 1}


def test_whoever_registers_under_ever_other_names_is_remembered_for_a_bounded_number_of_them() -> None:
    gone = Gone(3)
    for number in range(1000):
        gone.add(SourceKey("gpu.example.com"), Counter({"stream": 1}))
        gone.add(SourceKey(f"evil-{number}"), Counter({"stream": 1}))
        gone.add(SourceKey(f"quiet-{number}"), Counter())
    kept = [number for number in range(1000) if gone.of(SourceKey(f"evil-{number}"))]
    assert kept == [998, 999]
    assert gone.of(SourceKey("gpu.example.com")) == {"stream": 1000}, "who was refused lately stays"
