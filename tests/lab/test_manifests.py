"""What stands in examples/ is what the lab runs: a wheel has no examples/, so each file is there twice."""

from pathlib import Path

import pytest

from podvitals.lab import story

EXAMPLES = Path(__file__).parents[2] / "examples" / "crash-loop"


@pytest.mark.parametrize("manifest", [story.MANIFEST, story.GPUS_MANIFEST], ids=lambda path: path.name)
def test_the_example_and_the_labs_manifest_are_the_same(manifest: Path) -> None:
    assert (EXAMPLES / manifest.name).read_bytes() == manifest.read_bytes()
