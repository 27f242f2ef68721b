"""What the lab writes down of itself, so that a later one can clean up after it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from podvitals.lab import layout, runfile
from podvitals.lab.estate import Estate, EstateSettings
from tests.lab.places import place

__all__ = ["place"]


def test_children_that_end_together_are_all_noted(place: Path) -> None:
    estate = Estate(EstateSettings(root=place / "lab"))
    estate._held, estate._run = layout.hold(place / "lab"), runfile.new_run()
    with ThreadPoolExecutor(8) as threads:
        for noted in [threads.submit(estate.note_children) for _ in range(200)]:
            noted.result()
    written = runfile.read(estate.layout.run_file)
    assert written is not None
    assert written.id == estate._run.id
    estate._held.release()
