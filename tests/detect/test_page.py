"""docs/detectors.md is what the families and rules say now, and what it shows of an operator's file is right."""

import subprocess
import sys
from pathlib import Path

from podvitals.detect.rules.load import builtin, load_file

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_detectors_is_up_to_date_and_names_every_rule(tmp_path: Path) -> None:
    program = "import runpy, sys; sys.stdout.write(runpy.run_path(sys.argv[1])['page']())"
    made = subprocess.run([sys.executable, "-c", program, str(DOCS / "detectors.py")], capture_output=True, text=True, check=True).stdout
    assert (DOCS / "detectors.md").read_text() == made, "run `make docs`"
    for rule in builtin():
        assert f"| [{rule.id}](" in made or f"| {rule.id} |" in made


def test_the_file_of_rules_that_the_page_shows_is_right(tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text((DOCS / "detectors.md").read_text().split("```toml\n")[1].split("```")[0])
    rules = load_file(ours)
    assert {rule.id for rule in rules if rule.origin} == {"xid.48", "xid.4711", "ours.brownout"}
    assert {line.id for line in rules.lines.values() if line.origin} == {"brownout"}
    assert rules.damping == builtin().damping, "as it says"
