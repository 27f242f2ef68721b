"""docs/conformance.md says what the suites try, and what they found."""

import re

from podvitals.testing.conformance.case import Case, Finding, Outcome, Result
from podvitals.testing.conformance.driver import CASES as DRIVER_CASES
from podvitals.testing.conformance.node import CASES, Stage
from tests.conformance import pages
from tests.conformance.table import COLUMNS, cell, page


def test_the_page_lists_every_case_with_its_sentence() -> None:
    text = pages.PAGE.read_text()
    assert pages.written(text) == text, "python -m tests.conformance.pages writes it"


def test_the_page_holds_a_result_of_every_node_case() -> None:
    begin, end = pages.TABLE
    table = pages.PAGE.read_text().partition(begin)[2].partition(end)[0]
    assert [case.name for case in CASES if f"| `{case.name}` |" not in table] == []


def test_every_source_of_a_case_is_a_section_of_the_contracts_page() -> None:
    sections = set(re.findall(r"^## (\d+)\.", (pages.PAGE.parent / "contract.md").read_text(), re.MULTILINE))
    cited = {case.source for case in DRIVER_CASES} | {case.source for case in CASES}
    assert cited == {f"CONTRACT §{number}" for number in sections}


def test_podvitals_own_columns_hold_no_failure() -> None:
    begin, end = pages.TABLE
    rows = [
        line.split(" | ") for line in pages.PAGE.read_text().partition(begin)[2].partition(end)[0].splitlines() if line.startswith("| `")
    ]
    ours = [at for at, column in enumerate(COLUMNS, 1) if "condition" in column.title or "lab" in column.title]
    assert [row[0] for row in rows if any("fail" in row[at] for at in ours)] == []


def test_a_late_result_says_how_late() -> None:
    assert cell(Result("x", "", "", Finding(Outcome.FAIL, "", ms=73500.0), 0.0)) == "**fail**, 73.5 s late"
    assert cell(Result("x", "", "", Finding(Outcome.PASS, "", ms=7.25), 0.0)) == "pass, 7.2 ms"
    assert cell(Result("x", "", "", Finding(Outcome.FAIL, "", ms=-800.0), 0.0)) == "**fail**, 800 ms early"
    assert cell(None) == ""


def test_a_column_has_a_line_for_each_case_that_did_not_pass() -> None:
    async def run(_: Stage) -> str:
        return ""

    case = Case("x", "It is so.", "CONTRACT §1", "", run)
    result = Result("x", case.sentence, case.source, Finding(Outcome.FAIL, "it was not"), 0.0)
    text = page(COLUMNS[:1], [case], {COLUMNS[0].name: {"x": result}})
    assert "| `x` | **fail** |" in text
    assert "* `x` (fail): it was not" in text
