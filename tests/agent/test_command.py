"""`podvitals agent` as a process: what it says to wrong input, and how it ends."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import Field, fields
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from unittest.mock import Mock

import aiohttp
import click
import pytest

from podvitals.agent.compose import AgentSettings
from podvitals.cli import agent as cli
from podvitals.lab.api import ApiServer
from podvitals.node.limits import Limits

UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "NODE_NAME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def settings(*arguments: str) -> AgentSettings:
    """What the agent runs with, given these on the command line."""
    return cli._settings(cli.command.make_context("agent", ["--node-name", "n", *arguments]).params)


def test_the_post_mortem_window_is_a_flag() -> None:
    assert settings().window == 600.0
    assert settings("--post-mortem-window", "30").window == 30.0


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_each_limit_on_a_driver_is_a_flag_with_a_stated_default(limit: Field[int]) -> None:
    flag = f"--limit-{limit.name.replace('_', '-')}"
    assert getattr(settings().limits, limit.name) == limit.default
    assert getattr(settings(flag, "7").limits, limit.name) == 7
    (option,) = [one for one in cli.command.params if flag in one.opts]
    assert isinstance(option, click.Option)
    assert option.show_default


def kubeconfig(path: Path, server: str) -> Path:
    contexts = "current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]"
    text = f'{{apiVersion: v1, kind: Config, {contexts}, clusters: [{{name: c, cluster: {{server: "{server}"}}}}]}}'
    (path / "kubeconfig").write_text(text)
    return path / "kubeconfig"


@asynccontextmanager
async def agent(path: Path, *arguments: str, server: str = UNREACHABLE) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "podvitals", "agent", "--node-name", "node1", "--kubeconfig", str(kubeconfig(path, server))]
    command += ["--plugin-dir", str(path / "plugins_registry"), "--state-dir", str(path / "state"), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def refused(path: Path, *arguments: str) -> tuple[int | None, str]:
    async with agent(path, *arguments) as process, asyncio.timeout(20):
        _, said = await process.communicate()
        return process.returncode, said.decode()


async def says(process: asyncio.subprocess.Process, words: str) -> str:
    """The line of its log that has these words."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        async for line in process.stderr:
            if words in line.decode():
                return line.decode()
    raise AssertionError(f"it never said {words!r}")


async def readiness(path: Path) -> tuple[int, str]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path / "state" / "agent.sock"))) as session:
        answer = await session.get("http://agent/readyz")
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--kubeconfig", "/nowhere/kubeconfig"], 2, "/nowhere/kubeconfig"),
        (["--context", "unknown"], 2, "unknown"),
        (["--listen", "9470"], 2, "write HOST:PORT"),
        (["--leave", "Not A Driver"], 2, "is not a DNS subdomain"),
        (["--post-mortem-window", "-1"], 2, "-1"),
        (["--state-dir", "/proc/nowhere"], 3, "choose another with --state-dir"),
        (["--state-dir", "/tmp/" + "x" * 120], 2, "107"),
    ],
)
async def test_wrong_input_is_one_clear_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    returned, said = await refused(tmp_path, *arguments)
    assert (returned, said.count("\n")) == (code, 1)
    assert words in said


async def test_an_api_that_is_not_there_is_said_and_waited_for(tmp_path: Path) -> None:
    async with agent(tmp_path) as process:
        line = await says(process, "pods not read")
        assert "level=warning" in line
        assert "node=node1" in line
        assert (await readiness(tmp_path))[0] == 503
        assert "the pods of this node: cannot list pods" in (await readiness(tmp_path))[1]


async def test_a_plugin_directory_that_is_not_there_is_said_and_waited_for(tmp_path: Path) -> None:
    async with ApiServer() as api, agent(tmp_path, server=api.url) as process:
        assert str(tmp_path / "plugins_registry") in await says(process, "plugin directory")
        assert process.returncode is None


@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 0), (SIGINT, 130)])
async def test_it_ends_when_it_is_told_to(tmp_path: Path, number: Signals, code: int) -> None:
    async with ApiServer() as api, agent(tmp_path, "--log-format", "json", server=api.url) as process:
        assert (await says(process, "pods of this node seen")).startswith('{"time": ')
        process.send_signal(number)
        async with asyncio.timeout(5):
            await process.communicate()
        assert process.returncode == code
        assert not (tmp_path / "state" / "agent.sock").exists()


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("answers", [True, False])
async def test_garbage_is_collected_again_once_pods_were_told_or_a_start_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    monkeypatch.setattr(cli, "FIRST_WORDS", 0.0)
    monkeypatch.setattr(cli, "LONGEST_START", 10.0 if answers else 0.01)
    agent = Mock(node=Mock(ready=asyncio.Event()), synced=asyncio.Event())
    starting = asyncio.create_task(cli._start(agent), name="start")
    if answers:
        agent.node.ready.set()
        await asyncio.sleep(0)
        assert not gc.isenabled()
        agent.synced.set()
    async with asyncio.timeout(5):
        await starting
    assert gc.isenabled()
    assert gc.get_freeze_count()
