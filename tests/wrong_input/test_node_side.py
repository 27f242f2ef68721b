"""Drivers and agents started wrongly: what stands in the way is named, and who is there already is not harmed."""

import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.kube.fake import fake_api
from tests.wrong_input.process import Outcome, kubeconfig, line_with, podvitals, started


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short, for socket paths; with a kubelet's plugin directory and one simulated device."""
    place = tmp_path_factory.mktemp("n")
    (place / "plugins_registry").mkdir()
    (place / "sim").mkdir()
    (place / "sim" / "gpu-0").write_text("Healthy\n")
    return place


def driver_line(node: Path, *more: str, registry: Path | None = None) -> list[str]:
    flags = ["--plugin-dir", str(registry or node / "plugins_registry"), "--cdi-dir", str(node / "cdi"), "--node-name", "n1"]
    return ["driver", "gpu.example.com", *(more or ("--detector", f"sim:{node / 'sim'}")), *flags]


async def driver(node: Path, *more: str, registry: Path | None = None) -> Outcome:
    return await podvitals(*driver_line(node, *more, registry=registry), KUBECONFIG=kubeconfig(node / "k", "http://127.0.0.1:9"))


async def test_a_plugin_directory_that_is_missing_a_file_or_closed_is_named(node: Path) -> None:
    said = (await driver(node, registry=node / "nowhere")).sentence(3)
    assert said.startswith(f"plugin directory {node / 'nowhere'} does not exist: on a node it is the kubelet's plugins_registry")
    assert "gpu-0 is not a directory" in (await driver(node, registry=node / "sim" / "gpu-0")).sentence(3)
    (node / "plugins_registry").chmod(0o500)
    said = (await driver(node)).sentence(3)
    assert said == f"directory {node / 'plugins_registry'} is not writable: run as root, or give another --plugin-dir"


async def test_a_path_too_long_for_a_socket_is_told_with_the_limit(node: Path) -> None:
    long = node / ("a" * 80)
    long.mkdir()
    assert "a Unix socket may have 107: choose a shorter directory" in (await driver(node, registry=long)).sentence(2)


async def test_a_live_drivers_place_is_refused_and_a_dead_ones_taken_over(node: Path) -> None:
    config = kubeconfig(node / "k", "http://127.0.0.1:9")
    async with started(*driver_line(node), KUBECONFIG=config) as first:
        await line_with(first, "serving driver=gpu.example.com")
        assert "another process listens on" in (await driver(node)).sentence(3)
        assert first.returncode is None
        first.send_signal(signal.SIGKILL)
        await first.wait()
        assert (node / "plugins_registry" / "gpu.example.com-reg.sock").is_socket()
        async with started(*driver_line(node), KUBECONFIG=config) as second:
            await line_with(second, "serving driver=gpu.example.com")
            second.send_signal(signal.SIGTERM)
            assert await second.wait() == 0
    assert list((node / "plugins_registry").iterdir()) == []


async def test_a_device_named_twice_or_contradictorily_or_unfit_for_kubernetes_is_refused_at_the_start(node: Path) -> None:
    for place in ("a", "b"):
        (node / place).mkdir()
        (node / place / "acc0").write_text("")
    twice = await driver(node, "--detector", f"files:{node}/a/*,{node}/b/*")
    assert twice.sentence(2).endswith("lists device acc0 twice: names must be unique")
    sim = f"sim:{node / 'sim'}"
    torn = await driver(node, "--detector", f"{sim},model=a", "--detector", f"{sim},model=b")
    assert torn.sentence(2).endswith("contradict each other about device gpu-0: attribute model is 'a' and 'b'")
    (node / "sim" / "Bad_Name").write_text("Healthy\n")
    assert "device name 'Bad_Name' is not a DNS label" in (await driver(node)).sentence(2)


async def test_a_pattern_that_matches_nothing_is_said_and_waited_for(node: Path) -> None:
    line = driver_line(node, "--detector", f"files:{node}/accel*")
    async with started(*line, KUBECONFIG=kubeconfig(node / "k", "http://127.0.0.1:9")) as process:
        assert f"no device is there yet: files:{node}/accel*" in await line_with(process, "WARNING")


def agent_line(node: Path, *more: str) -> list[str]:
    directories = ["--plugin-dir", str(node / "plugins_registry"), "--state-dir", str(node / "state")]
    return ["agent", "--node-name", "n1", *directories, *more]


async def test_an_agent_without_a_plugin_directory_says_so_and_looks_again(node: Path) -> None:
    (node / "plugins_registry").rmdir()
    async with fake_api() as api:
        async with started(*agent_line(node), KUBECONFIG=kubeconfig(node / "k", api.config().server)) as process:
            said = await line_with(process, "plugin directory")
            process.send_signal(signal.SIGINT)
            await process.communicate()
    assert f"{node / 'plugins_registry'}: No such file or directory; looking again" in said
    assert process.returncode == 130


async def test_an_agent_whose_port_is_taken_or_not_its_own_says_which(node: Path) -> None:
    config = kubeconfig(node / "k", "http://127.0.0.1:9")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        said = (await podvitals(*agent_line(node, "--listen", place), KUBECONFIG=config)).sentence(3)
    assert said == f"cannot listen on {place}: another program does; stop it or choose another port"
    said = (await podvitals(*agent_line(node, "--listen", "192.0.2.1:9470"), KUBECONFIG=config)).sentence(3)
    assert said == "cannot listen on 192.0.2.1:9470: cannot assign requested address; --listen takes an address of this machine"
