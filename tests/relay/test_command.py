"""`podvitals relay` and `podvitals relay keep` as a person starts them: a process, on paths as he wrote them."""

import os
from pathlib import Path

import pytest

from podvitals.testing.driver import FakeDriver
from tests.relay.conftest import Node
from tests.wrong_input.process import line_with, podvitals, started

NAME = "gpu.example.com"


def line(node: Node, **other: Path) -> list[str]:
    where = {"plugin_dir": node.place / "plugins_registry", "kubelet_dir": node.kubelet_place / "plugins_registry", "run_dir": node.run_dir}
    return ["relay", *(word for flag, path in (where | other).items() for word in (f"--{flag.replace('_', '-')}", str(path)))]


def relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


async def test_directories_given_as_relative_paths_are_the_kubelets_as_absolute_ones(node: Node) -> None:
    """The kubelet dials what it is told from a working directory of its own."""
    run_dir, kubelet_dir = relative(node.run_dir), relative(node.kubelet_place / "plugins_registry")
    async with started(*line(node, run_dir=run_dir, kubelet_dir=kubelet_dir)), node.kubelet() as kubelet, FakeDriver(node.place, NAME):
        info = await kubelet.registered(NAME)
        assert Path(info.endpoint).parent == node.run_dir


async def test_a_kubelets_directory_that_is_missing_a_file_or_closed_is_called_so(node: Node) -> None:
    missing, file = node.kubelet_place / "nowhere", node.kubelet_place / "file"
    file.touch()
    said = (await podvitals(*line(node, kubelet_dir=missing))).sentence(3)
    assert said == f"the kubelet's plugin directory {missing} does not exist: mount it from the host, or give another --kubelet-dir"
    assert f"{file} is not a directory: " in (await podvitals(*line(node, kubelet_dir=file))).sentence(3)
    closed = node.kubelet_place / "plugins_registry"
    closed.chmod(0o500)
    said = (await podvitals(*line(node))).sentence(3)
    assert said == f"the kubelet's plugin directory {closed} is not writable: run as root, or give another --kubelet-dir"


@pytest.mark.parametrize("command", [["relay"], ["relay", "keep"]], ids=" ".join)
async def test_a_run_directory_that_is_a_file_or_closed_is_called_so(node: Node, command: list[str]) -> None:
    where = line(node)[1:] if command == ["relay"] else ["--run-dir", str(node.run_dir)]
    node.run_dir.touch()
    assert (await podvitals(*command, *where)).sentence(3) == f"{node.run_dir} is not a directory: give another --run-dir"
    node.run_dir.unlink()
    node.run_dir.mkdir(mode=0o500)
    said = (await podvitals(*command, *where)).sentence(3)
    assert said == f"directory {node.run_dir} is not writable: run as root, or give another --run-dir"


async def test_a_keeper_where_no_relay_ever_ran_says_so_and_waits_for_one(node: Node) -> None:
    """It may be started first; but a path that is mistyped is not one it should wait at in silence."""
    async with started("relay", "keep", "--run-dir", str(node.run_dir)) as keeper:
        said = await line_with(keeper, "no relay")
        assert said == f"podvitals: {node.run_dir} was not there: no relay has run with this --run-dir yet\n"
        await line_with(keeper, "holding the relay's sockets")
    async with started("relay", "keep", "--run-dir", str(node.run_dir)) as keeper:
        assert keeper.stderr is not None
        assert b"holding" in await keeper.stderr.readline()


async def test_the_log_tells_when_a_relay_began_and_that_it_ended_as_it_was_told(node: Node) -> None:
    async with started(*line(node)) as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME):
        assert f"plugin_dir={node.place / 'plugins_registry'}" in await line_with(relay, 'msg="relay begins" version=')
        await kubelet.registered(NAME)
        relay.terminate()
        await line_with(relay, 'msg="relay ended"')
        assert await relay.wait() == 0
