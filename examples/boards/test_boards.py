"""What the boards' driver tells a kubelet, and what its rules say: nothing here needs a board, a kubelet or root."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from boards import RULES, Boards

from podvitals import Count, Driver, Health, Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.roots import Roots
from podvitals.testing import FakeKubelet


@pytest.fixture
def root() -> Iterator[Path]:
    with TemporaryDirectory() as directory:  # not tmp_path: a socket's path has at most 107 bytes
        yield Path(directory)


def make_board(root: Path, slot: str, serial: str) -> Path:
    board = root / "sys/class/board" / slot
    board.mkdir(parents=True)
    for name, value in (("serial", serial), ("link", "up"), ("errors", "7"), ("temperature", "41000")):
        (board / name).write_text(f"{value}\n")
    return board


def test_a_board_whose_link_is_down_is_unhealthy_until_it_is_up_again(root: Path) -> None:
    board, boards = make_board(root, "slot1", serial="B7"), Boards()
    boards.roots = Roots.under(root)

    async def story() -> None:
        async with FakeKubelet(root / "k") as kubelet, Driver("board.example.com", boards).serving(kubelet):
            await kubelet.sees("board-b7", Health.HEALTHY)
            (board / "link").write_text("down\n")
            report = await kubelet.sees("board-b7", Health.UNHEALTHY)
            assert report.message == "link is down (slot slot1)"
            (board / "link").write_text("up\n")
            await kubelet.sees("board-b7", Health.HEALTHY)
            board.rename(root / "pulled")
            await kubelet.sees("board-b7", Health.UNHEALTHY)

    asyncio.run(story())


def test_what_cannot_be_read_makes_a_board_unknown_and_never_unhealthy(root: Path) -> None:
    board, boards = make_board(root, "slot1", serial="B7"), Boards()
    boards.roots = Roots.under(root)
    (device,) = boards.devices()
    (board / "temperature").unlink()
    assert boards.check(device) == Reading.unknown("cannot read temperature: No such file or directory")


def test_three_errors_an_hour_are_fatal() -> None:
    evidence = Evidence(RULES)
    for minute, errors in enumerate([7, 8, 9, 10]):  # the 7 were there before: a counter's first value says nothing
        reading = evidence.take("board-b7", [Count("board.errors", errors)], minute * 60.0)
    assert reading == Reading.unhealthy("3 or more measuring errors an hour", action="service")
