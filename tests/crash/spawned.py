"""The processes of a world: `python -m tests.crash.spawned agent|driver|kubelet ...`.

agent, driver  what `podvitals agent` and `podvitals driver` are, with shorter waits (times.py). A driver also tells the world, in a
               datagram, of each report once it was handed to a watcher's socket, and whose socket it was (the peer's pid, as the kernel
               knows it): so it is known which faults were really delivered to which agent.
kubelet        the lab's kubelet as a process of its own, which the lab has inside another one.

$PODVITALS_CRASH_TWIN names a refuted agent (twins.py).
"""

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.crash import times, twins

TOLD = "PODVITALS_CRASH_TOLD"
"""The path of the world's datagram socket."""


def main() -> None:
    role, *arguments = sys.argv[1:]
    if role == "kubelet":
        times.shorten(times.KUBELET)
        node, root, kubeconfig, state = arguments
        asyncio.run(_kubelet(node, Path(root), Path(kubeconfig), Path(state)))
        return
    if role == "driver":
        _tell_what_is_told(os.environ[TOLD])
    else:
        times.shorten(times.AGENT)
        twins.become(os.environ.get(twins.VARIABLE, ""))
    from podvitals.__main__ import podvitals

    sys.argv = ["podvitals", role, *arguments]
    podvitals()


def _tell_what_is_told(path: str) -> None:
    from podvitals.wire.convert import decode_report
    from podvitals.wire.server import PluginServer
    from podvitals.wire.stream import Stream

    world = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    world.setblocking(False)

    async def send_all(stream: Stream, reports: AsyncIterator[bytes]) -> None:
        peer = _peer(stream)
        try:
            async for raw in reports:
                await stream.send(raw)
                said = [[one.pool, one.device, one.health.value, one.message] for one in decode_report(raw).devices]
                world.sendto(json.dumps({"driver": os.getpid(), "to": peer, "at": time.monotonic(), "said": said}).encode(), path)
        finally:
            await reports.aclose()  # type: ignore[attr-defined]

    # The last place before the socket; it has to be there, or nothing would count as delivered.
    if not hasattr(PluginServer, "_send_all"):
        raise SystemExit("tests/crash/spawned.py listens at PluginServer._send_all, which is not there any more")
    PluginServer._send_all = staticmethod(send_all)  # type: ignore[method-assign]


def _peer(stream: Any) -> int:
    transport = stream._connection._transport
    connected: socket.socket = transport.get_extra_info("socket")
    pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


async def _kubelet(node: str, root: Path, kubeconfig: Path, state: Path) -> None:
    import logging

    from podvitals.clock import SYSTEM
    from podvitals.kube.client import Client
    from podvitals.kube.locate import load_config
    from podvitals.lab.kubelet.backoff import BackoffSettings
    from podvitals.lab.kubelet.run import Kubelet, KubeletSettings
    from podvitals.node.watch import NodeSettings, NodeWatch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s", datefmt="%H:%M:%S")
    settings = KubeletSettings(node, root / "cdi", root / "pod-logs", root / "pods", state / "held", BackoffSettings(0.2, 1.0))
    async with Client(await asyncio.to_thread(load_config, kubeconfig, None)) as client:
        watch = NodeWatch(NodeSettings(plugin_dir=root / "plugins_registry", checkpoint=state / "kubelet.db"), SYSTEM, registrar=True)
        kubelet = Kubelet(client, watch, settings, SYSTEM)

        async def run_kubelet() -> None:
            await watch.loaded.wait()  # as the lab does it: a pod's field is not written before the checkpoint is read
            await kubelet.run()

        running = [asyncio.create_task(watch.run(), name="drivers"), asyncio.create_task(run_kubelet(), name="kubelet")]
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, lambda: [task.cancel() for task in running])
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


if __name__ == "__main__":
    main()
