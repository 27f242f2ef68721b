"""What is remembered of a connection is bounded, whatever it says."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.node.limits import Limits
from podvitals.node.memory import Heard, Memory
from podvitals.wire.report import Decoder
from tests.wire.test_report import entry

LIMITS = Limits(devices_per_driver=10, remembered_reports=3, remembered_bytes=400)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 14)), max_size=20))
def test_reports_bytes_and_layouts_are_bounded_and_the_newest_is_kept(reports: list[tuple[int, int]]) -> None:
    memory = Memory(LIMITS)
    for first, count in reports:
        raw = b"".join(entry("node1", f"gpu-{first + number}") for number in range(count))
        decoder = Decoder(raw)
        while decoder.step():
            pass
        memory.keep(Heard(raw, 0.0, None, decoder.layout))
        kept = memory.not_taken()
        assert len(kept) <= 3
        assert sum(len(heard.raw) for heard in kept) <= 400
        assert sum(len(heard.layout) for heard in kept if heard.layout is not None) <= 10
        assert (memory.find(raw) is not None) == (len(raw) <= 400)
    memory.clear()
    assert memory.not_taken() == []
