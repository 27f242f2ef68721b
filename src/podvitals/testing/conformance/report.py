"""Results as a table, a JSON document and a JUnit report. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

from podvitals.device.text import clean
from podvitals.testing.conformance.case import Outcome, Result


def summary(results: Iterable[Result]) -> str:
    """`31 cases: 29 pass, 1 fail, 1 skip`."""
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    return f"{counts.total()} case{'s' if counts.total() != 1 else ''}: {', '.join(parts) or 'none ran'}"


def milliseconds(ms: float | None) -> str:
    """To three digits: `7.4 ms`, `310 ms`, `73.5 s`."""
    if ms is None:
        return ""
    if ms >= 10_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms"


def document(subject: str, results: Sequence[Result]) -> dict[str, Any]:
    """What `-o json` prints."""
    return {
        "subject": subject,
        "summary": {str(outcome): sum(result.outcome is outcome for result in results) for outcome in Outcome},
        "cases": [
            {
                "name": result.name,
                "outcome": str(result.outcome),
                "sentence": result.sentence,
                "source": result.source,
                "seen": clean(result.finding.seen),
                "do": result.finding.do,
                "ms": None if result.finding.ms is None else round(result.finding.ms, 1),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def junit(subject: str, results: Sequence[Result]) -> bytes:
    """The XML that CI systems read: a failure is a failure, a warning passes with its text in system-out."""
    counts = Counter(result.outcome for result in results)
    skipped = counts[Outcome.SKIP] + counts[Outcome.NOT_APPLICABLE]
    totals = {
        "tests": str(len(results)),
        "failures": str(counts[Outcome.FAIL]),
        "errors": "0",
        "skipped": str(skipped),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    suites = ElementTree.Element("testsuites", {"name": "podvitals conformance", **totals})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": clean(subject), **totals})
    for result in results:
        where = {"classname": clean(subject), "name": result.name, "time": f"{result.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", where)
        _tell(case, result)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _tell(case: ElementTree.Element, result: Result) -> None:
    seen = clean(result.finding.seen)
    text = f"{result.source}: {result.sentence}\nSeen: {seen}" + (f"\nDo:   {result.finding.do}" if result.finding.do else "")
    match result.outcome:
        case Outcome.FAIL:
            ElementTree.SubElement(case, "failure", {"message": seen, "type": "contract"}).text = text
        case Outcome.SKIP | Outcome.NOT_APPLICABLE:
            ElementTree.SubElement(case, "skipped", {"message": seen})
        case Outcome.WARN:
            ElementTree.SubElement(case, "system-out").text = f"WARNING\n{text}"
        case Outcome.PASS:
            ElementTree.SubElement(case, "system-out").text = text
