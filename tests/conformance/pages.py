"""What docs/conformance.md says of the cases, written from the cases themselves: `python -m tests.conformance.pages`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from podvitals.testing.conformance.case import Case
from podvitals.testing.conformance.driver import CASES as DRIVER_CASES
from podvitals.testing.conformance.node import CASES as NODE_CASES

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
LISTS: dict[str, Sequence[Case[Any]]] = {"driver cases": DRIVER_CASES, "node cases": NODE_CASES}
TABLE = "<!-- written by make conformance -->", "<!-- until here -->"


def replaced(text: str, begin: str, end: str, content: str) -> str:
    """The page with what stands between two marks replaced."""
    before, _, rest = text.partition(f"{begin}\n")
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no place between {begin} and {end}")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def listed(cases: Iterable[Case[Any]]) -> str:
    rows = [f"| `{case.name}` | {case.sentence} | {case.source.removeprefix('CONTRACT ')} |" for case in cases]
    return "\n".join(["| case | sentence | from |", "|---|---|---|", *rows])


def written(text: str) -> str:
    """The page with the lists of cases as they are now."""
    for name, cases in LISTS.items():
        text = replaced(text, f"<!-- {name} -->", f"<!-- end of {name} -->", listed(cases))
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
