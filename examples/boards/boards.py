"""A driver for measuring boards: a family reads signals, boards.toml says what they mean."""

import os
from collections.abc import Iterable
from pathlib import Path

from podvitals import Count, Device, Driver, Family, Level, State, Unread
from podvitals.detect.roots import Roots
from podvitals.detect.rules.load import load_file
from podvitals.detect.signal import Signal

RULES = load_file(Path(__file__).with_name("boards.toml"))


class Boards(Family):
    family, about, needs = "board", "measuring boards", "/sys/class/board"
    interval, timeout = 1.0, 0.5
    rules = RULES

    def find(self) -> Iterable[Device]:
        for path in sorted((self.roots.sys / "class/board").iterdir()):
            serial = (path / "serial").read_text().strip()
            yield Device(f"board-{serial}".lower(), {"slot": path.name, "serial": serial}, handle=str(path))

    def read(self, device: Device) -> Iterable[Signal]:
        path = Path(device.handle)
        if not path.exists():
            yield State("board.presence", "gone")
            return
        yield State("board.presence", "present")
        yield State("board.link", (path / "link").read_text().strip())
        yield Count("board.errors", int((path / "errors").read_text()))
        try:
            yield Level("board.temperature", int((path / "temperature").read_text()) / 1000)
        except OSError as error:
            yield Unread("board.temperature", str(error.strerror))


if __name__ == "__main__":
    boards = Boards()
    boards.roots = Roots.under(Path(os.environ.get("BOARDS_ROOT", "/")))
    Driver("board.example.com", boards).main()
