"""All the way in the lab: a fault in this machine's kernel, a driver with detectors, the agent, and what the pod's status says."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from podvitals.lab import runfile
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.cluster.subjects import Processes, World
from tests.detect.veth import requires_veth
from tests.flow import kernel
from tests.flow.kernel import requires_pci_and_log
from tests.roots import requires_mknod


@dataclass(frozen=True)
class Lab:
    """What World asks of a cluster."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"


class LabWorld(World):
    def flags(self) -> list[str]:
        root = self.cluster.root
        where = ["--plugin-dir", str(root / "plugins_registry"), "--cdi-dir", str(root / "cdi")]
        return ["--node-name", "lab", "--kubeconfig", str(self.cluster.kubeconfig), *where]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`podvitals lab` as a process: one for all, for its story takes its time. It goes on beside; nothing of it is ours."""
    root = Path(f"/tmp/pv-way-{os.getpid()}")
    words = ["lab", "--dir", str(root), "--device", "file"]
    process = subprocess.Popen(
        [sys.executable, "-m", "podvitals", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "The lab is up" in line:
                break
        else:
            pytest.fail(f"the lab did not come up:\n{''.join(said)}")
        yield Lab(root)
    finally:
        process.terminate()
        process.communicate(timeout=20)
        if (left := runfile.read(root / "run.json")) is not None:
            runfile.clean_up(left)


@pytest.fixture
async def world(lab: Lab) -> AsyncIterator[World]:
    cluster = cast(Cluster, lab)
    processes = Processes(cluster)
    async with Api(lab.kubeconfig) as api:
        try:
            async with LabWorld.open(cluster, api, processes) as world:
                yield world
        finally:
            processes.end_all()


@requires_veth
async def test_a_carrier_loss_reaches_the_pods_status_and_leaves_it_again(world: World) -> None:
    with kernel.carrier() as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_mknod
async def test_a_vanished_device_node_reaches_the_pods_status_and_leaves_it_again(world: World) -> None:
    with kernel.node() as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_pci_and_log
async def test_an_xid_in_the_kernel_log_reaches_the_pods_status_and_leaves_it_with_a_reset(world: World, tmp_path: Path) -> None:
    with kernel.xid(tmp_path) as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_pci_and_log
async def test_an_xid_that_needs_a_reboot_stays_when_the_gpu_is_reset(world: World, tmp_path: Path) -> None:
    await kernel.what_a_reset_does_not_mend(world, kernel.Log(tmp_path / "lines.toml"))
