"""docs/writing-a-detector.md and its example: what an author writes, and how it is tested."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from podvitals.detect.evidence import Evidence
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count
from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.testing import FakeKubelet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("boards", ROOT / "examples/boards/boards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_board(path: Path, serial: str, link: str = "up") -> Path:
    path.mkdir(parents=True)
    for name, value in (("serial", serial), ("link", link), ("errors", "7"), ("temperature", "41000")):
        (path / name).write_text(f"{value}\n")
    return path


async def test_a_board_whose_link_is_down_is_unhealthy_and_so_is_one_that_was_pulled(example: ModuleType, short_path: Path) -> None:
    board = make_board(short_path / "sys/class/board/slot1", serial="B7")
    boards = example.Boards()
    boards.roots = Roots.under(short_path)
    async with FakeKubelet(short_path / "k") as kubelet, Driver("board.example.com", boards).serving(kubelet):
        await kubelet.sees("board-b7", Health.HEALTHY)
        (board / "link").write_text("down\n")
        report = await kubelet.sees("board-b7", Health.UNHEALTHY)
        assert report.message == "link is down (slot slot1)"
        (board / "link").write_text("up\n")
        await kubelet.sees("board-b7", Health.HEALTHY)
        board.rename(short_path / "pulled")
        await kubelet.sees("board-b7", Health.UNHEALTHY)


def test_three_errors_an_hour_are_fatal(example: ModuleType) -> None:
    evidence = Evidence(example.RULES)
    for minute, errors in enumerate([7, 8, 9, 10]):
        reading = evidence.take("board-b7", [Count("board.errors", errors)], minute * 60.0)
    assert reading.action == "service"


def test_the_page_shows_the_example_as_it_is() -> None:
    page, code = (ROOT / "docs/writing-a-detector.md").read_text(), (ROOT / "examples/boards/boards.py").read_text()
    shown = page.split("    def read(self, device):\n")[1].split("```")[0]
    assert shown.strip() in code
    rule = (ROOT / "examples/boards/boards.toml").read_text()
    for line in page.split("```toml\n")[1].split("```")[0].splitlines():
        assert line.split("  #")[0].rstrip() in rule
