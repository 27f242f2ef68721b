"""docs/writing-a-detector.md, done as it says: the files it shows, in an empty directory, tested by a plain pytest."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOARDS = ROOT / "examples/boards"
FILES = ("boards.py", "boards.toml", "test_boards.py")


def shown() -> dict[str, str]:
    """The three files as the page has them."""
    page = (ROOT / "docs/writing-a-detector.md").read_text()
    return {name: page.split(f"The whole of `{name}`")[1].split("```")[1].partition("\n")[2] for name in FILES}


def test_the_page_shows_the_example_as_it_is() -> None:
    assert shown() == {name: (BOARDS / name).read_text() for name in FILES}


def test_whoever_follows_the_page_has_a_tested_detector(tmp_path: Path) -> None:
    for name, text in shown().items():
        (tmp_path / name).write_text(text)
    outcome = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "3 passed" in outcome.stdout


def test_a_test_of_the_page_fails_where_the_rules_are_wrong(tmp_path: Path) -> None:
    for name, text in shown().items():
        (tmp_path / name).write_text(text.replace("at = 3", "at = 4"))
    assert "1 failed, 2 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider").stdout


def test_a_mistake_in_the_rules_is_told_as_the_page_says(tmp_path: Path) -> None:
    for name, text in shown().items():
        (tmp_path / name).write_text(text.replace('class = "fatal"\naction', 'class = "fatl"\naction'))
    said = run(tmp_path, "boards.py", "--help").stderr
    assert "boards.toml:6:9: class 'fatl' is none of " in said
    assert ": did you mean 'fatal'?" in said


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none of ours
    return subprocess.run(
        [sys.executable, *words], cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
