"""Driver processes, as people start them: the example, an author's flags, the end."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from podvitals.cli.driver import command
from podvitals.device.health import Health
from podvitals.driver.flags import driver_flags, settings_of
from podvitals.driver.plugin import Driver
from podvitals.driver.settings import Settings
from podvitals.errors import InvalidInput, PodvitalsError
from podvitals.testing import FakeKubelet
from tests.driver.make import DRIVER, Toys

EXAMPLE = Path(__file__).parents[2] / "examples" / "minimal_driver.py"
NOBODY = "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], "
NOBODY += "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with two toys and a kubeconfig at whose address nobody answers."""
    (tmp_path / "toys").mkdir()
    for name in ("t1", "t2"):
        (tmp_path / "toys" / name).touch()
    (tmp_path / "kubeconfig").write_text(NOBODY)
    return tmp_path


def flags(place: Path) -> list[str]:
    return [
        "--node-name=node-1", f"--kubeconfig={place}/kubeconfig", f"--plugin-dir={place}/plugins_registry", f"--cdi-dir={place}/cdi",
    ]  # fmt: skip


@asynccontextmanager
async def process(place: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, *flags(place), env={**os.environ, "TOYS": f"{place}/toys"}, stderr=subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_the_example_is_a_whole_driver_and_ends_on_sigterm_leaving_nothing(place: Path) -> None:
    async with FakeKubelet(place) as kubelet, process(place, str(EXAMPLE)) as example:
        await kubelet.sees("toy.example.com/node-1/t1", Health.HEALTHY, timeout=15)
        (place / "toys" / "t1").write_text("no carrier")
        report = await kubelet.sees("t1", Health.UNHEALTHY, message="no carrier")
        assert report.action == "power-cycle"
        (place / "toys" / "t2").unlink()
        await kubelet.sees("t2", Health.UNHEALTHY)
        example.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await example.wait() == 0
        await kubelet.gone("toy.example.com")
        assert [path for path in place.rglob("*.sock")] == []  # noqa: ASYNC240, C416


async def test_a_process_with_a_hung_check_ends_on_sigterm_all_the_same(place: Path) -> None:
    (place / "toys" / "t1").unlink()
    os.mkfifo(place / "toys" / "t1")  # open() blocks for ever
    async with FakeKubelet(place) as kubelet, process(place, str(EXAMPLE)) as example:
        await kubelet.sees("t1", Health.UNKNOWN, message="Toys: check has not answered within 0.5 s", timeout=15)
        example.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await example.wait() == 0


def test_the_example_is_short() -> None:
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(code) <= 30


def test_podvitals_driver_runs_detectors_by_their_specs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, Settings]] = []
    monkeypatch.setattr(Driver, "run", lambda self, given, _: ran.append((self.name, settings_of(given))))
    arguments = ["gpu.example.com", "--detector", f"sim:{place}/toys,interval=1", "--detector", "net:pv*", *flags(place)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert ran == [("gpu.example.com", Settings("node-1", place / "plugins_registry", place / "cdi"))]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["GPU!", "--detector", "sim:/x"], "driver name 'GPU!' is not a DNS subdomain"),
        (["gpu.example.com", "--detector", "simulated"], "'simulated' is no family"),
        (["gpu.example.com", "--detector", "sim:/x", "--kubeconfig", "/nonexistent/config"], "/nonexistent/config does not exist"),
        (["gpu.example.com", "--detector", "sim:/x", "--node-name", "A_B"], "node name 'A_B'"),
        (["gpu.example.com", "--detector", "sim:/x", "--rolling-update"], "--rolling-update needs the pod's uid"),
        (["gpu.example.com", "--detector", "sim:/x", "--pod-uid", "u1"], "--pod-uid is for --rolling-update"),
        (["gpu.example.com", "--detector", "sim:/x", "--pod-uid", "../x", "--rolling-update"], "is not a uid"),
    ],
)
def test_wrong_flags_are_refused_with_what_to_do(arguments: Sequence[str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_UID", raising=False)
    with pytest.raises(PodvitalsError) as raised:
        CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert why in str(raised.value)


def test_an_authors_main_says_its_error_in_one_line_and_exits_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Driver("toy.example.com", Toys("t1")).main(["--kubeconfig", "/nonexistent/config"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "toy.example.com: kubeconfig: /nonexistent/config does not exist\n"


TOY = """
from podvitals import Detector, Device, Driver, Reading
class Toys(Detector):
    def devices(self): return [Device("{device}")]
    {kind} check(self, device): return Reading.healthy()
    def join(self, others): {join}
Driver("{name}"{detector}).main()
"""


@pytest.mark.parametrize(
    ("wrong", "why", "code"),
    [
        ({"name": "Toy_Driver"}, "Toy_Driver: driver name 'Toy_Driver' is not a DNS subdomain", 2),
        ({"kind": "async def"}, "toy.example.com: detector Toys: check() is `async def`", 2),
        ({"device": "Bad_Device"}, "toy.example.com: Toys: device name 'Bad_Device'", 2),
        ({"detector": ""}, "toy.example.com: driver toy.example.com has no detector", 2),
        ({"detector": ", Toys"}, "toy.example.com: <class '__main__.Toys'> is not a detector; write Toys()", 2),
        ({"join": "1 / 0"}, "toy.example.com: internal error: ZeroDivisionError: division by zero; PODVITALS_DEBUG=1 shows where", 70),
    ],
)
async def test_what_an_author_got_wrong_is_one_line_and_no_traceback(wrong: dict[str, str], why: str, code: int, place: Path) -> None:
    right = {"name": DRIVER, "device": "t1", "kind": "def", "join": "pass", "detector": ", Toys()"}
    (place / "plugins_registry").mkdir()
    async with process(place, "-c", TOY.format(**right | wrong)) as driver:
        _, errors = await driver.communicate()
    assert driver.returncode == code
    (line,) = errors.decode().splitlines()
    assert line.startswith(why)


def test_node_and_pod_come_from_the_downward_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "gpu-07")
    monkeypatch.setenv("POD_UID", "3d6e1d0a")
    seen: list[Settings] = []

    @click.command
    @driver_flags
    def main(**given: object) -> None:
        seen.append(settings_of(given))

    CliRunner().invoke(main, ["--rolling-update"], catch_exceptions=False)
    assert (seen[0].node, seen[0].pod_uid) == ("gpu-07", "3d6e1d0a")
    monkeypatch.delenv("POD_UID")
    with pytest.raises(InvalidInput, match="set POD_UID"):
        CliRunner().invoke(main, ["--rolling-update"], catch_exceptions=False)


def test_importing_what_an_author_needs_imports_no_grpc_http_or_protobuf() -> None:
    code = "import sys, podvitals; podvitals.Detector, podvitals.Reading; print({'h2', 'aiohttp', 'google.protobuf'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_no_thread_of_ours_outlives_a_driver() -> None:
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("detect ") and not thread.daemon] == []
