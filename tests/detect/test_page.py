"""docs/detectors.md is what the families and rules say now."""

import subprocess
import sys
from pathlib import Path

from podvitals.detect.rules.load import builtin

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_detectors_is_up_to_date_and_names_every_rule(tmp_path: Path) -> None:
    program = "import runpy, sys; sys.stdout.write(runpy.run_path(sys.argv[1])['page']())"
    made = subprocess.run([sys.executable, "-c", program, str(DOCS / "detectors.py")], capture_output=True, text=True, check=True).stdout
    assert (DOCS / "detectors.md").read_text() == made, "run `make docs`"
    for rule in builtin():
        assert f"| [{rule.id}](" in made or f"| {rule.id} |" in made
