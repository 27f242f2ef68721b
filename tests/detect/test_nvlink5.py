"""The decoding of NVLink 5's Xids, against NVIDIA's table as it stands there: masks in binary, and its own words for what is to be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.nvlink5 import PARTS, asked, told

# Xid, bits 9-0 of the first word before R575, bits 6-0 since; then the second words, each with the immediate and the investigatory action.
CATALOGUE = """
144 0000100001 0000001 1=IGNORE/SUPPORT 2=RESET 4=IGNORE/IGNORE 8=IGNORE/SUPPORT 10=RESET 20=IGNORE/IGNORE
145 0001100010 0000011 80000000=IGNORE/SUPPORT
145 0010000010 0000100 1=154 2=154 4=154 8=154 10=154 20=154 40=RESET 80=RESET 100=IGNORE/IGNORE 200=IGNORE/IGNORE 80000000=IGNORE/SUPPORT
145 0010100010 0000101 1=IGNORE/IGNORE 2=RESET 80000000=IGNORE/SUPPORT
145 0011000010 0000110 1=IGNORE/SUPPORT 2=IGNORE/SUPPORT 4=IGNORE/SUPPORT 8=IGNORE/SUPPORT 80000000=IGNORE/SUPPORT
145 0011100010 0000111 1=RESET 2=IGNORE/IGNORE 4=154 8=154 10=RESET 20=RESET 80000000=IGNORE/SUPPORT
145 0100000010 0001000 1=IGNORE/IGNORE 2=RESET 10000=IGNORE/IGNORE 20000=RESET 100000=RESET 80000000=IGNORE/SUPPORT
146 0100100011 0001001 1=IGNORE/IGNORE 2=IGNORE/SUPPORT 4=RESET 80000000=IGNORE/SUPPORT
146 0101000011 0001010 1=IGNORE/IGNORE 2=IGNORE/SUPPORT 4=RESET 80000000=IGNORE/SUPPORT
146 0101000011 0001011 1=IGNORE/IGNORE 2=IGNORE/SUPPORT 4=RESET 80000000=IGNORE/SUPPORT
146 0101100011 0001100 1=IGNORE/IGNORE 2=IGNORE/SUPPORT 4=RESET 80000000=IGNORE/SUPPORT
146 0101100011 0001101 1=IGNORE/IGNORE 2=IGNORE/SUPPORT 4=RESET 80000000=IGNORE/SUPPORT
147 0110000100 0001110 1=IGNORE/SUPPORT 80000000=IGNORE/SUPPORT
148 0000000101 0001111 80000000=IGNORE/SUPPORT
149 1000100110 0010011 0=IGNORE/CABLES 1=IGNORE/CABLES 2=IGNORE/CABLES 3=IGNORE/CABLES
149 1001000110 0010100 1=RESET 3=IGNORE/IGNORE 4=RESET 5=RESET 7=RESET
150 0000000000 0000000 0=RESET FFFFFFFF=RESET
"""
# The same by bits 25-20 of the first word, whatever the second word is.
WHY_DOWN = """
149 0000000110 0011000 000000=RESET/SYMPATHETIC
149 0111000110 0010001 000000=RESET/SYMPATHETIC 000001=RESET/REPORT 000010=RESET/SI 000100=RESET/SI 001010=RESET/SI 001111=RESET/SW \
010000=RESET/SW_SI 010001=RESET/SW 010010=RESET/SW_SI 010101=RESET/PEER 010110=RESET/SW 100000=RESET/PEER 100001=RESET/PEER \
100010=RESET/PEER 100011=RESET/PEER 100100=RESET/PEER 100101=RESET/PEER 100110=IGNORE/SW 101000=IGNORE/HOST 101010=RESET/CABLES \
101011=RESET/CABLES
"""
ASKS = {"RESET": "reset", "154": "restart", "IGNORE/IGNORE": "nothing"}
LOOKS = {
    "SI": "the link's signal quality",
    "SW": "who or what took the link down",
    "SW_SI": "who or what took the link down, and the link's signal quality",
    "PEER": "the device at the link's other end",
    "CABLES": "the link's cables, temperature and seating",
    "HOST": "what else the host logged",
}
Row = tuple[str, int, int, str]


def rows(table: str, base: int) -> list[Row]:
    """(Xid, first word, key, action) of each entry, once for each age of driver."""
    found = []
    for line in filter(None, table.replace("\\\n", "").splitlines()):
        xid, v1, v2, *entries = line.split()
        for first in (int(v1, 2), int(v2, 2)):
            found += [(xid, first, int(key, base), action) for key, _, action in (entry.partition("=") for entry in entries)]
    return found


def expected(action: str) -> dict[str, str]:
    immediate, _, investigate = action.partition("/")
    asks = ASKS.get(immediate) or ASKS.get(action, "look")
    return {"asks": asks} | ({"look": LOOKS[investigate]} if investigate in LOOKS else {})


def test_the_table_has_every_row_of_the_catalogue() -> None:
    per_xid = {
        xid: len([row for row in rows(CATALOGUE, 16) + rows(WHY_DOWN, 2) if row[0] == xid]) // 2 for xid in map(str, range(144, 151))
    }
    assert per_xid == {"144": 6, "145": 33, "146": 20, "147": 2, "148": 1, "149": 31, "150": 2}


@pytest.mark.parametrize("row", rows(CATALOGUE, 16), ids=lambda row: f"{row[0]}-{row[1]:010b}-{row[2]:x}")
def test_the_second_word_says_what_is_asked_for(row: Row) -> None:
    xid, first, status, action = row
    assert asked(xid, first, status) == expected(action)
    assert asked(xid, first | 0xFC0FF800, status) == expected(action)  # bits that are not about this


@pytest.mark.parametrize("row", rows(WHY_DOWN, 2), ids=lambda row: f"{row[0]}-{row[1]:010b}-{row[2]:06b}")
def test_of_a_link_that_went_down_the_reason_in_the_first_word_says_so(row: Row) -> None:
    xid, first, reason, action = row
    for status in (0, 1, 0xDEADBEEF):
        assert asked(xid, first | reason << 20, status) == expected(action)


@pytest.mark.parametrize("first", [0b10011000010, 0b10000110])
@pytest.mark.parametrize("status", [1, 2, 4])
def test_an_error_that_the_driver_promoted_asks_for_a_reset(first: int, status: int) -> None:
    assert asked("145", first, status) == {"asks": "reset"}
    assert asked("145", first, 8) == {"asks": "look"}


def test_no_first_word_is_a_part_in_the_way_of_older_and_of_newer_drivers() -> None:
    for xid in {part.xid for part in PARTS}:
        ours = [part for part in PARTS if part.xid == xid]
        for word in range(1 << 11):
            numbers = {(part.v1, "old") for part in ours if word & 0x3FF == part.first} | {
                (part.v2, "new") for part in ours if word & 0x7F == part.v2
            }
            assert len({number for number, _ in numbers}) <= 1, (xid, word, numbers)


def test_of_several_bits_the_worst_counts_and_an_unknown_one_makes_it_unknown() -> None:
    assert asked("146", 0b0001001, 0x1 | 0x2) == {"asks": "look"}
    assert asked("146", 0b0001001, 0x1 | 0x4) == {"asks": "reset"}
    assert asked("146", 0b0001001, 0x1 | 0x100) == {}
    assert asked("146", 0b0001001, 0x4 | 0x100) == {"asks": "reset"}
    assert asked("149", 0b0010100, 0x2) == {}  # values, not bits


@pytest.mark.parametrize(
    ("xid", "first", "status"), [("144", 2, 1), ("149", 0b111111 << 20 | 0b0010001, 0), ("145", 1 << 20 | 4, 1), ("143", 1, 1)]
)
def test_a_pattern_that_the_catalogue_has_not_got_says_nothing(xid: str, first: int, status: int) -> None:
    assert asked(xid, first, status) == {}


@pytest.mark.parametrize(
    ("xid", "what", "said"),
    [
        (
            "149",
            "NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)",
            {"unit": "NETIR_LINK_EVT", "severity": "Fatal", "link": "01", "status": "0x00000000", "asks": "reset", "look": LOOKS["PEER"]},
        ),
        (
            "149",
            "NETIR_BER_EVENT Nonfatal XC0 i0 Link 03 (0x00086226 0x00000001 0x00000000 0x00000000 0x00000000 0x00000000)",
            {
                "unit": "NETIR_BER_EVENT",
                "severity": "Nonfatal",
                "link": "03",
                "status": "0x00000001",
                "asks": "look",
                "look": LOOKS["CABLES"],
            },
        ),
        (
            "145",
            "RLW_REMAP Nonfatal XC0 i0 Link 00 (0x00000004 0x00000001 0x00000000 0x00000000)",
            {"unit": "RLW_REMAP", "severity": "Nonfatal", "link": "00", "status": "0x00000001", "asks": "restart"},
        ),
        ("148", "NVLPW_CTRL Fatal XC0 i0 Link 05", {"unit": "NVLPW_CTRL", "severity": "Fatal", "link": "05"}),
        (
            "150",
            "MSE Degraded Fatal XC0 i0 (0x00000000 0xffffffff)",
            {"unit": "MSE Degraded", "severity": "Fatal", "status": "0xffffffff", "asks": "reset"},
        ),
        ("145", "driver-specific detail", {}),
        ("79", "NETIR_LINK_EVT Fatal XC0 i0 Link 01 (0x021425c6 0x00000000)", {}),
    ],
)
def test_a_line_of_the_kernel_log_is_taken_apart(xid: str, what: str, said: dict[str, str]) -> None:
    assert told(xid, what) == said


@given(st.text(max_size=200), st.sampled_from(["144", "149", "150"]))
def test_any_text_is_taken_apart_or_left(what: str, xid: str) -> None:
    assert set(told(xid, what)) <= {"unit", "severity", "link", "status", "asks", "look"}
