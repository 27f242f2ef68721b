"""How tables give way to a terminal: names whole, prose cut or folded, lesser columns left out, and no line longer than it can be."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.cli.layout import Layout
from podvitals.cli.output import Table

XID = "Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)"
PODS = Table(
    ("NAME", "STATUS", "RESTARTS", "HEALTH", "DEVICES", "WHY", "AGE"),
    [("llm-0", "CrashLoopBackOff", "5", "Unhealthy", "1 of 8", f"gpu-3: {XID}", "5m"), ("web", "Running", "0", "Healthy", "1", "", "5m")],
    least=("AGE", "RESTARTS", "DEVICES"),
)


def test_what_fits_is_laid_out_as_kubectl_would_and_what_goes_into_a_pipe_is_whole() -> None:
    whole = PODS.lines()
    assert PODS.lines(width=200) == whole
    assert whole[1] == f"llm-0   CrashLoopBackOff   5          Unhealthy   1 of 8    gpu-3: {XID}   5m"


def test_prose_gives_way_first_and_then_the_least_columns() -> None:
    assert PODS.lines(width=100)[1].endswith("  gpu-3: Xid 79: GPU has fallen off the b…  5m")
    assert PODS.lines(width=60)[0].split() == ["NAME", "STATUS", "HEALTH", "WHY"]
    assert PODS.lines(width=60)[1] == "llm-0  CrashLoopBackOff  Unhealthy  gpu-3: Xid 79: GPU has…"


def test_a_name_is_never_cut_and_one_that_is_too_long_stands_above_its_row() -> None:
    name = "trainer-of-a-very-large-model-7d9f8b6c5-abcde-and-more"
    table = Table(PODS.header, [*PODS.rows, (name, *PODS.rows[0][1:])], least=PODS.least)
    header, *_, above, below = table.lines(width=60)
    assert above == name
    assert below.index("CrashLoopBackOff") == header.index("STATUS")


def test_on_a_page_nothing_is_lost() -> None:
    table = Table(("DEVICE", "HEALTH", "SINCE", "WHY"), [("gpu-3", "Unhealthy", "12:03:04 (6m)", XID), ("gpu-4", "Healthy", "", "")])
    lines = table.folded(50, indent="  ")
    assert lines == [
        "  DEVICE  HEALTH     SINCE          WHY",
        "  gpu-3   Unhealthy  12:03:04 (6m)  Xid 79: GPU",
        "                                    has fallen off",
        "                                    the bus (PCI",
        "                                    0000:3b:00.0)",
        "  gpu-4   Healthy    -              -",
    ]
    assert table.folded(200, indent="  ") == table.lines(indent="  ")


_WORD = st.text("abcdefgh", min_size=1, max_size=12)
_CELL = st.lists(_WORD, max_size=8).map(" ".join)


@given(st.integers(40, 200), st.lists(st.tuples(_WORD, _CELL, _CELL, _WORD), min_size=1, max_size=5))
def test_no_line_is_longer_than_the_terminal_where_each_word_has_its_place(width: int, rows: list[tuple[str, ...]]) -> None:
    table = Table(("NAME", "A", "B", "C"), rows, least=("C",))
    assert all(len(line) <= 80 for line in table.lines(width=80))
    folded = table.folded(max(width, 4 * 14))
    assert all(len(line) <= max(width, 4 * 14) for line in folded)
    words = sorted(word for row in rows for cell in row for word in (cell.split() or ["-"]))
    assert sorted(" ".join(folded[1:]).split()) == words


def test_columns_of_a_watch_stay_where_they_were() -> None:
    before = Layout.of([PODS.header, *PODS.rows], None)
    after = Layout.of([PODS.header, PODS.rows[1]], None, before=before)
    assert after == before
