"""The harness itself: what the rest of the suite takes for granted."""

import os
import select
import signal
import subprocess
import sys

from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.processes import MARK, marked
from tests.cluster.subjects import World


def exit_codes(pod: Object) -> list[int]:
    statuses = pod["status"].get("containerStatuses", ())
    ended = [status.get(state, {}).get("terminated") for status in statuses for state in ("state", "lastState")]
    return [each["exitCode"] for each in ended if each]


async def run(world: World, name: str, *command: str) -> Object:
    container = {"name": "main", "image": "none", "command": command}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return await world.api.create(world.pods, {"metadata": {"name": name}, "spec": spec})


async def test_a_container_is_a_process_that_ends_with_its_exit_code(world: World) -> None:
    await run(world, "fails", "sh", "-c", "exit 7")
    assert exit_codes(await world.pod("fails", exit_codes)) == [7]
    await run(world, "killed", "sh", "-c", "kill -SEGV $$$$")  # the kubelet itself takes $$ for an escaped $
    assert exit_codes(await world.pod("killed", exit_codes)) == [139]


async def test_a_deleted_pods_process_is_ended(world: World) -> None:
    await run(world, "sleeper", "sleep", "1234567")
    await world.pod("sleeper", lambda pod: pod["status"]["phase"] == "Running")
    sleeping = [pid for pid in marked(world.cluster.root) if "1234567" in command_line(pid)]
    assert len(sleeping) == 1
    ended = os.pidfd_open(sleeping[0])
    await world.api.delete(f"{world.pods}/sleeper")
    assert wait_readable(ended, 10), "still running"


async def test_the_kubelet_is_of_the_release_asked_for(cluster: Cluster) -> None:
    assert cluster.request("GET", "/version")["gitVersion"] == f"v{cluster.version}"
    assert cluster.request("GET", "/api/v1/nodes/node1")["status"]["nodeInfo"]["kubeletVersion"] == f"v{cluster.version}"


def test_what_carries_the_mark_ends_with_whoever_started_it(cluster: Cluster, tmp_path: object) -> None:
    root = f"{tmp_path}/cluster"
    os.mkdir(root)
    guard = subprocess.Popen([sys.executable, "tests/cluster/processes.py", root], stdin=subprocess.PIPE)
    orphan = subprocess.Popen(["sleep", "1234568"], env={MARK: root}, start_new_session=True)
    stranger = subprocess.Popen(["sleep", "3"], env={MARK: f"{root}-other"})
    assert guard.stdin is not None
    guard.stdin.close()
    assert guard.wait(10) == 0
    assert orphan.wait(10) == -signal.SIGKILL
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait(10)
    assert not os.path.exists(root)


def command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


def wait_readable(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])
