"""Lines of the log: one a thing that changed, and seldom the same."""

import io
import json
import logging
import threading

from podvitals.agent.log import Aside, Json, KeyValue, Seldom


def line(message: str = "device changed", **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("podvitals.agent", logging.INFO, "", 0, message, (), None)
    vars(record).update(extra)
    return record


def test_a_line_is_key_value_and_quotes_what_needs_it() -> None:
    text = KeyValue().format(line(driver="gpu.example.com", reason='said "no"\nreally'))
    assert text.endswith(' level=info msg="device changed" driver=gpu.example.com reason="said \\"no\\"\\nreally"')


def test_what_would_drive_a_terminal_is_escaped_and_means_the_same_to_a_machine() -> None:
    said = line(reason="\x1b[2J \u202egnp.exe\u2066 é")
    for form in (KeyValue(), Json()):
        assert form.format(said).isprintable()
    assert json.loads(Json().format(said))["reason"] == "\x1b[2J \u202egnp.exe\u2066 é"
    assert "é" in KeyValue().format(line(reason="é"))


def test_a_line_is_json_by_flag() -> None:
    document = json.loads(Json().format(line(pod="ml/a", count=3)))
    assert (document["msg"], document["pod"], document["count"]) == ("device changed", "ml/a", 3)


def test_fields_without_a_value_are_left_out() -> None:
    assert "was" not in KeyValue().format(line(was=""))


def test_the_same_line_is_said_once_a_minute_and_tells_how_often_it_was_held_back() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert seldom.filter(line(pod="a"))
    assert not any(seldom.filter(line(pod="a")) for _ in range(5))
    assert seldom.filter(line(pod="b"))
    now = 61.0
    again = line(pod="a")
    assert seldom.filter(again)
    assert KeyValue().format(again).endswith("held_back=5")


def test_what_is_remembered_to_hold_lines_back_is_bounded() -> None:
    seldom = Seldom()
    assert all(seldom.filter(line(pod=str(n))) for n in range(10_000))
    assert len(seldom._said) <= 1024


class Pipe(io.StringIO):
    """A place to write to that takes nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = threading.Event()

    def write(self, text: str) -> int:
        self.taking.wait(5)
        return super().write(text)


def test_a_full_pipe_holds_up_nobody() -> None:
    pipe = Pipe()
    handler = Aside(pipe)
    handler.setFormatter(KeyValue())
    for n in range(20_000):
        handler.handle(line(n=n))
    pipe.taking.set()
    handler.close()
    lines = pipe.getvalue().splitlines()
    assert lines[0].endswith(" n=0")
    assert 1 <= len(lines) <= 10_001
