"""The whole way once, as a stranger sees it: `podvitals lab` as a process, its story, its end, and what it leaves behind: nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podvitals.lab import netlink, runfile
from tests.lab.places import place
from tests.roots import requires_root

__all__ = ["place"]
LINE = [sys.executable, "-m", "podvitals", "lab"]


@dataclass
class Started:
    process: subprocess.Popen[str]
    root: Path
    lines: list[str] = field(default_factory=list)

    def until(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never said:\n{''.join(self.lines)}")

    def rest(self, timeout: float = 30) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, "".join(self.lines) + said

    def run_file(self) -> runfile.Run:
        run = runfile.read(self.root / "run.json")
        assert run is not None
        return run


@contextmanager
def lab(root: Path, *words: str) -> Iterator[Started]:
    env = dict(os.environ) | {"HOME": "/nonexistent"}
    process = subprocess.Popen(
        [*LINE, "--dir", str(root), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True
    )
    try:
        yield Started(process, root)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        left = runfile.read(root / "run.json")
        if left is not None:
            runfile.clean_up(left)


def nothing_left(root: Path, run: runfile.Run | None) -> None:
    assert not root.exists()
    if run is not None:
        assert list(runfile.marked(run.id)) == []
        assert run.veth is None or netlink.alias_of(run.veth) != run.alias


@pytest.mark.parametrize("device", ["file", pytest.param("veth", marks=requires_root)])
def test_the_story_is_seen_and_nothing_is_left_behind(place: Path, device: str) -> None:
    with lab(place / "lab", "--once", "--device", device) as started:
        started.until("Running")
        run = started.run_file()
        code, said = started.rest()
    assert code == 0, said
    assert [re.search(rf"^{number}  ", said, re.MULTILINE) is not None for number in range(1, 6)] == [True] * 5
    assert "A DEVICE FAULT EXPLAINS THE CRASHES" in said
    assert "The fault stays on record: Unhealthy" in said
    assert "Traceback" not in said
    nothing_left(place / "lab", run)


def test_a_lab_killed_outright_is_cleaned_up_by_the_next_start(place: Path) -> None:
    with lab(place / "lab") as started:
        started.until("2  Pod")
        run = started.run_file()
        started.process.kill()
        started.process.wait()
        deadline = time.monotonic() + 10
        while list(runfile.marked(run.id)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(runfile.marked(run.id)) == [], "drivers, agent and containers die with the lab"
        assert (place / "lab" / "run.json").exists()
        with lab(place / "lab", "--once", "--device", "file") as again:
            code, said = again.rest()
    assert code == 0, said
    nothing_left(place / "lab", run)


def test_a_second_lab_in_the_same_directory_says_who_is_there(place: Path) -> None:
    with lab(place / "lab", "--device", "file") as first:
        first.until("1  The lab is up")
        with lab(place / "lab", "--once") as second:
            code, said = second.rest()
        assert code == 3
        assert f"already (pid {first.process.pid}): stop it with Ctrl-C there" in said
        assert (place / "lab" / "kubeconfig").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("after", [0.0, 0.3, 0.5, 0.8, 1.2, 2.0])
def test_ctrl_c_at_any_moment_leaves_nothing(place: Path, after: float) -> None:
    with lab(place / "lab") as started:
        deadline = time.monotonic() + after
        run = None
        while time.monotonic() < deadline:
            run = runfile.read(place / "lab" / "run.json") or run
            time.sleep(0.01)
        started.process.send_signal(signal.SIGINT)
        code, said = started.rest()
    assert code in (130, -signal.SIGINT), said
    assert "Traceback" not in said or after == 0.0, "only an interpreter that is still starting may say so"
    nothing_left(place / "lab", run)


def test_ctrl_c_is_how_the_lab_is_left_and_a_second_one_does_not_hurt(place: Path) -> None:
    with lab(place / "lab", "--device", "file") as started:
        started.until("# what the lab, its drivers and its agent log")
        run = started.run_file()
        started.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        started.process.send_signal(signal.SIGINT)
        code, said = started.rest()
    assert code == 0, said
    nothing_left(place / "lab", run)


def test_a_killed_driver_and_a_killed_agent_come_back(place: Path) -> None:
    with lab(place / "lab", "--device", "file") as started:
        started.until("# what the lab, its drivers and its agent log")
        for child in started.run_file().children:
            os.kill(child.pid, signal.SIGKILL)
        for child in started.run_file().children:
            assert child.name
            started.until("runs again")
        log = (place / "lab" / "logs" / "lab.log").read_text()
        started.process.send_signal(signal.SIGTERM)
        code, said = started.rest()
    assert code == 0, said
    assert said.count("ended (killed by SIGKILL); starting it again") == 3
    assert 'msg="not reachable" driver=gpu.podvitals.dev endpoint=' in log, "its log names who, as the agent's does"


def test_a_step_that_is_not_seen_is_named_and_makes_the_exit_code_one(place: Path) -> None:
    with lab(place / "lab", "--once", "--device", "file") as started:
        started.until("1  The lab is up")
        agent = next(child for child in started.run_file().children if child.name == "agent")
        os.kill(agent.pid, signal.SIGSTOP)
        code, said = started.rest(60)
    assert code == 1, said
    assert "not seen: condition podvitals.dev/DevicesHealthy" in said or "not seen: annotation podvitals.dev/devices" in said
    nothing_left(place / "lab", None)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--back-off", "soon"], 2, "back-off 'soon' is not BASE:CAP"),
        (["--device", "gpu"], 2, "'gpu' is not one of"),
        (["--port", "70000"], 2, "70000"),
        (["--nonsense"], 2, "--nonsense"),
    ],
)
def test_wrong_words_are_refused_in_one_line(place: Path, words: list[str], code: int, says: str) -> None:
    with lab(place / "lab", *words) as started:
        ended, said = started.rest()
    assert ended == code
    assert says in said
    assert "Traceback" not in said
    assert not (place / "lab").exists()


def test_a_port_in_use_is_refused_and_nothing_is_left(place: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with lab(place / "lab", "--port", str(port)) as started:
            code, said = started.rest()
    assert code == 3
    assert f"port {port} of 127.0.0.1 cannot be used: Address already in use; give another with --port" in said
    nothing_left(place / "lab", None)


def test_the_kubeconfig_is_complete_and_never_the_users_own(place: Path) -> None:
    with lab(place / "lab", "--device", "file") as started:
        started.until("1  The lab is up")
        config = json.loads((place / "lab" / "kubeconfig").read_text())
    assert config["current-context"] == "lab"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}", config["clusters"][0]["cluster"]["server"])
