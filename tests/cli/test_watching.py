"""`get -w`: what is told of what changes, what goes, and what cannot be read for a while."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from podvitals.cli.output import Table
from podvitals.cli.watching import News
from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import PODS, SLICES
from podvitals.lab.api.server import ApiServer, ApiSettings
from tests.cli.cluster import DRIVER, Cluster, device, kubeconfig_for

BROKEN = device("gpu-3", Health.UNHEALTHY, "Xid 79: GPU has fallen off the bus")


async def test_a_watch_tells_what_is_gone_and_waits_for_it_and_what_it_could_not_read(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", device("gpu-3"))
    process = await cluster.start("get", "pods", "trainer", "-w")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            await process.stdout.readline()
            first = await process.stdout.readline()
            await cluster.client.delete(PODS, "trainer", "default", grace=0)
            while (line := await process.stdout.readline()).split()[1:2] == [b"Terminating"]:
                pass
            assert line == b"trainer is gone\n"
            await cluster.pod("trainer", BROKEN)
            again = await process.stdout.readline()
            assert b"Unhealthy" in again
            assert first.index(b"Healthy") == again.index(b"Unhealthy"), "columns stay where they were"
    finally:
        process.terminate()
        await process.communicate()


async def test_a_watch_says_that_the_api_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    settings = ApiSettings(prefix="x")
    first = ApiServer(settings)
    await first.start()
    port, url = urlsplit(first.url).port or 0, first.url
    async with Client(ClusterConfig(url)) as client:
        cluster = Cluster(client, kubeconfig_for(url, tmp_path))
        await cluster.pod("trainer", device("gpu-3"))
    process = await cluster.start("get", "pods", "-w", "--no-headers")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            assert (await process.stdout.readline()).startswith(b"trainer")
            await first.stop()
            assert b"cannot be reached" in await process.stderr.readline()
            async with ApiServer(ApiSettings(port=port, prefix="x")) as second, Client(ClusterConfig(second.url)) as client:
                await Cluster(client, cluster.kubeconfig).pod("web", device("gpu-4"))
                while b"web" not in (line := await process.stdout.readline()):
                    assert line in (b"trainer is gone\n",)
    finally:
        process.terminate()
        await process.communicate()


def test_what_a_watch_could_not_read_is_said_when_it_begins_and_not_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    news = News("table", header=True)
    for sentences in (("no right",), ("no right",), (), ("no right",)):
        news.note(sentences)
    assert capsys.readouterr().err == "note: no right\n" * 2


def test_columns_stay_where_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    news, header = News("table", header=True), ("NAME", "HEALTH", "WHY", "AGE")
    news.tell(Table(header, [("trainer-with-a-long-name", "Unhealthy", "", "5s"), ("web", "Healthy", "", "5s")]), ["a", "b"])
    news.tell(Table(header, [("web", "Unknown", "", "6s")]), ["b"])
    news.tell(Table(header, [("web", "Unknown", "", "7s")]), ["b"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:4] + lines[4:] == ["a is gone", lines[-1]], "an age that grew is no news"
    assert lines[-1].index("Unknown") == lines[0].index("HEALTH")


async def test_two_drivers_of_one_name_on_two_nodes_are_two_rows_of_a_watch(cluster: Cluster) -> None:
    for node in ("gpu-07", "gpu-08"):
        spec: dict[str, object] = {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [],
        }
        await cluster.client.create(SLICES, {"metadata": {"name": node}, "spec": spec})
    process = await cluster.start("get", "drivers", "-w", "--no-headers")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            rows = [await process.stdout.readline(), await process.stdout.readline()]
    finally:
        process.terminate()
        await process.communicate()
    assert [row.split()[:2] for row in rows] == [[DRIVER.encode(), b"gpu-07"], [DRIVER.encode(), b"gpu-08"]]
