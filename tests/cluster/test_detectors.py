"""All the way on a real Kubernetes: a fault in this machine's kernel, a driver with detectors, the kubelet and the agent beside it."""

from pathlib import Path

from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World
from tests.detect.veth import requires_veth
from tests.flow import kernel
from tests.flow.kernel import requires_pci_and_log
from tests.roots import requires_mknod

pytestmark = needs(Shown.MESSAGE)


@requires_veth
async def test_a_carrier_loss_reaches_the_pods_status_and_leaves_it_again(world: World) -> None:
    world.run_agent()
    with kernel.carrier() as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_mknod
async def test_a_vanished_device_node_reaches_the_pods_status_and_leaves_it_again(world: World) -> None:
    world.run_agent()
    with kernel.node() as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_pci_and_log
async def test_an_xid_in_the_kernel_log_reaches_the_pods_status_and_leaves_it_with_a_reset(world: World, tmp_path: Path) -> None:
    world.run_agent()
    with kernel.xid(tmp_path) as faulty:
        await kernel.from_the_kernel_to_the_pod(world, faulty)


@requires_pci_and_log
async def test_an_xid_that_needs_a_reboot_stays_when_the_gpu_is_reset(world: World, tmp_path: Path) -> None:
    world.run_agent()
    await kernel.what_a_reset_does_not_mend(world, kernel.Log(tmp_path / "lines.toml"))
