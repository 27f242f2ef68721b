"""What the commands that ask the Kubernetes API share."""

import asyncio

import pytest

from podvitals.cli import options
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig


async def test_an_api_that_takes_long_is_named_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, told = asyncio.Event(), list[str]()

    def hear(text: str, *, err: bool) -> None:
        told.append(f"{err}: {text}")
        said.set()

    monkeypatch.setattr(options, "SLOW", 0.0)
    monkeypatch.setattr("click.echo", hear)
    async with Client(ClusterConfig("http://127.0.0.1:9/secret")) as client, asyncio.timeout(5):
        await options.told_if_slow(client, said.wait())
    assert told == ["True: waiting for the Kubernetes API at http://127.0.0.1:9 ..."]
    monkeypatch.undo()
    async with Client(ClusterConfig("http://127.0.0.1:9/secret")) as client:
        assert await options.told_if_slow(client, asyncio.sleep(0, "quick")) == "quick"
    assert capsys.readouterr().err == ""
