"""What the documents promise is there: files they link to, targets they name, and the code they show."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#]+)[^)]*\)")


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        yield from ((page, link) for link in LINK.findall(page.read_text()) if "://" not in link)


@pytest.mark.parametrize(("page", "link"), list(links()), ids=lambda value: str(value).removeprefix(str(ROOT)))
def test_every_file_a_page_links_to_is_there(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


def test_every_target_a_page_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named <= targets
    assert {"lab", "test", "test-cluster", "bench"} <= targets


def test_each_promise_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", page)
    assert len(named) > 100
    gone = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / "tests" / path).read_text()]
    assert not gone


def test_the_readme_shows_the_example_as_it_is() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1).strip() in (ROOT / "examples" / "minimal_driver.py").read_text()
    assert len([line for line in shown.group(1).splitlines() if line.strip()]) <= 30


def test_the_repository_names_no_machine_it_was_written_on() -> None:
    tracked = [
        path for folder in ("src", "tests", "docs", "examples", "deploy", ".ci") for path in (ROOT / folder).rglob("*") if path.is_file()
    ]
    words = ("/wo" + "rk/", "/ro" + "ot/")
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in [*tracked, *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
        if path.suffix not in (".pyc", ".svg") and "__pycache__" not in path.parts
        for word in words
        if word in path.read_text(errors="replace")
    ]
    assert not found
