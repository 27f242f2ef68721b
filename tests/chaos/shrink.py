"""One seed: is anything wrong, and what is the shortest story in which it is?"""

import time
from dataclasses import dataclass

from tests.chaos.kit import Kit
from tests.chaos.story import Story, make
from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Finding:
    """`reason`: one sentence. `rule`: what it broke, so that a shorter story is known to show the same."""

    story: Story
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"seed {self.story.seed}: {self.reason}\n{self.story}"


def play(story: Story, kit: Kit | None = None) -> Finding | None:
    world = World(story, kit)
    try:
        world.run(story)
    except Exception as error:  # noqa: BLE001  # whatever goes wrong in there is a finding
        rule = getattr(error, "rule", type(error).__name__)
        reason = str(error) if hasattr(error, "rule") else f"{type(error).__name__}: {error}"
        return Finding(story, rule, reason)
    finally:
        world.close()
    return None


def find(seed: int, kit: Kit | None = None) -> Finding | None:
    return play(make(seed), kit)


def shrink(found: Finding, kit: Kit | None = None, seconds: float = 60.0) -> Finding:
    """Leaves out steps as long as the same rule is broken: halves first, then less, then one by one until none can go."""
    until = time.monotonic() + seconds
    size = max(1, len(found.story.steps) // 2)
    while time.monotonic() < until:
        before, at = found, 0
        while at < len(found.story.steps) and time.monotonic() < until:
            shorter = play(found.story.without(set(range(at, at + size))), kit)
            if shorter is not None and shorter.rule == found.rule:
                found = shorter
            else:
                at += size
        if size == 1 and found is before:
            break
        size = max(1, size // 2)
    return found
