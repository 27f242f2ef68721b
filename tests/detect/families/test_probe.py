"""An operator's own probes: real processes and a real HTTP server."""

import http.server
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.families.probe import Probe, ProbeFailed, ask_page, from_spec, run_command
from podvitals.detect.signal import State
from podvitals.detect.spec import Spec
from podvitals.device.health import Health
from podvitals.errors import InvalidInput
from tests.detect.kit import running


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def read(probe: Probe) -> State:
    (said,) = probe.read(Device(probe.name))
    assert isinstance(said, State)
    return said


@pytest.mark.parametrize(("status", "outcome"), [(0, "healthy"), (1, "unhealthy"), (2, "unknown")])
def test_a_command_says_by_its_exit_status_and_its_first_line(tmp_path: Path, status: int, outcome: str) -> None:
    probe = Probe(str(script(tmp_path / "check", f"echo; echo fan 3 stands still; echo more; exit {status}")), name="card0")
    assert read(probe) == State("probe.outcome", outcome, text="fan 3 stands still")


def test_a_command_that_says_nothing_is_named(tmp_path: Path) -> None:
    assert read(Probe(str(script(tmp_path / "check-fan", "exit 1")))).text == "check-fan said nothing more"


def test_arguments_reach_the_command_as_they_are_written_and_no_shell_sees_them(tmp_path: Path) -> None:
    check = script(tmp_path / "check", 'printf "%s|" "$@"')
    probe = Probe(str(check), "$(touch /tmp/never)", "; rm -rf x", "{device}", "a b", name="card0")
    assert read(probe).text == "$(touch /tmp/never)|; rm -rf x|card0|a b|"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("echo broken pipe wrench; exit 3", "exited with 3, which is none of 0, 1 and 2: broken pipe wrench"),
        ("kill -SEGV $$", "was ended by signal 11"),
    ],
)
def test_an_end_that_is_no_answer_is_the_probe_s_failure(tmp_path: Path, body: str, wrong: str) -> None:
    with pytest.raises(ProbeFailed, match=wrong):
        run_command([str(script(tmp_path / "check", body))], 10)


def test_a_command_that_cannot_be_started_is_the_probe_s_failure(tmp_path: Path) -> None:
    with pytest.raises(ProbeFailed, match="cannot start /nowhere/check: No such file or directory"):
        run_command(["/nowhere/check"], 10)


def test_a_command_that_hangs_is_killed_with_everything_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    check = script(tmp_path / "check", f"sleep 600 & echo $! > {pids}; echo waiting; wait")
    with pytest.raises(ProbeFailed, match=r"had not ended after 0.5 s and was killed: waiting"):
        run_command([str(check)], 0.5)
    child = int(pids.read_text())
    with suppress(ProcessLookupError):
        end = os.pidfd_open(child)
        assert select.select([end], [], [], 10)[0], "it is still there"
        os.close(end)


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    check = script(tmp_path / "check", f"sleep 600 & echo $! > {pids}; echo fine")
    assert run_command([str(check)], 30) == ("healthy", b"fine\n")
    os.kill(int(pids.read_text()), signal.SIGKILL)


def test_output_without_end_is_bounded(tmp_path: Path) -> None:
    check = script(tmp_path / "check", "head -c 5000000 /dev/zero | tr '\\0' x; exit 1")
    outcome, said = run_command([str(check)], 30)
    assert (outcome, said) == ("unhealthy", b"x" * 4096)
    assert len(read(Probe(str(check))).text) == 1024


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, _, text = self.path.strip("/").partition("/")
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write(text.replace("%20", " ").encode() + b"\nmore")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_page_says_by_its_status_and_its_first_line(server: str) -> None:
    assert read(Probe(f"{server}/200/fine", name="card0")) == State("probe.outcome", "healthy", text="fine")
    assert read(Probe(f"{server}/503/link%20down", name="card0")) == State("probe.outcome", "unhealthy", text="link down")
    with pytest.raises(ProbeFailed, match="answers 500, which is neither 200 nor 503: oops"):
        ask_page(f"{server}/500/oops", 5)


def test_a_page_that_does_not_answer_is_the_probe_s_failure() -> None:
    with pytest.raises(ProbeFailed, match=r"does not answer: .*Connection refused"):
        ask_page("http://127.0.0.1:1/healthz", 5)


async def test_a_probe_as_a_detector_says_healthy_unhealthy_and_unknown(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("0")
    probe = Probe(str(script(tmp_path / "check", f"echo says $(cat {state}); exit $(cat {state})")), name="card0")
    probe.interval, probe.timeout = 0.05, 5.0
    async with running(probe) as frame:
        await frame.says("card0", Health.HEALTHY)
        state.write_text("1")
        await frame.says("card0", Health.UNHEALTHY, "says 1")
        state.write_text("2")
        await frame.says("card0", Health.UNKNOWN, "says 2")
        state.write_text("7")
        await frame.says("card0", Health.UNKNOWN, "exited with 7")


def test_a_spec_names_the_command_its_arguments_and_the_device() -> None:
    probe = from_spec(Spec("", "probe", ("/usr/bin/check", "--gpu", "{device}"), {"name": "GPU 0"}))
    assert (probe.words, probe.name) == (("/usr/bin/check", "--gpu", "{device}"), "gpu-0")
    assert from_spec(Spec("", "probe", ("http://127.0.0.1:80/healthz",), {})).name == "healthz"
    for what, wrong in (((), "takes a command"), (("check",), "neither an absolute path nor an http address")):
        with pytest.raises(InvalidInput, match=wrong):
            from_spec(Spec("probe:", "probe", what, {}))
    for address in ("http://x:99999999/", "http:///x", "http://[::1:80/x"):
        with pytest.raises(InvalidInput, match="is no address: "):
            from_spec(Spec("probe:", "probe", (address,), {"name": "a"}))
    with pytest.raises(InvalidInput, match="say name=DEVICE"):
        from_spec(Spec("probe:", "probe", ("http://127.0.0.1:80/",), {}))
    assert Probe.everything() is None


def test_why_a_probe_failed_is_said_in_its_own_words() -> None:
    with pytest.raises(Unreadable, match=r"^cannot start /nowhere/check: No such file or directory$"):
        Probe("/nowhere/check", name="card0").check(Device("card0"))
