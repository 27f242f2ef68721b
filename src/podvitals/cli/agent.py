"""`podvitals agent`: a node's agent, until SIGTERM or Ctrl-C."""

import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from podvitals.cli.options import GivenPath, Where, cluster_options
from podvitals.node.limits import Limits

if TYPE_CHECKING:
    from podvitals.agent.compose import Agent, AgentSettings
    from podvitals.kube.config import ClusterConfig

LONGEST_START, FIRST_WORDS = 10.0, 1.0
"""Seconds a start may last that has an API server to talk to; seconds its first patches take."""
_SECONDS = click.FloatRange(min=0)
_LIMITS = {
    "devices_per_driver": "devices kept of one driver, all sources together",
    "sources_per_driver": "other sources of health for one driver's devices",
    "endpoints_per_source": "endpoints registered under one name at once",
    "drivers": "drivers remembered",
    "sockets": "registration sockets followed at once",
    "directories": "directories looked into below the plugin directory",
    "remembered_reports": "reports of a connection known again by their bytes",
    "remembered_bytes": "bytes of them",
}
Command = TypeVar("Command", bound=Callable[..., Any])


def limit_options(command: Command) -> Command:
    """A flag for each limit on what one driver may cost."""
    for limit in reversed(fields(Limits)):
        name = f"--limit-{limit.name.replace('_', '-')}"
        kind = click.IntRange(min=1)
        option = click.option(name, type=kind, metavar="N", default=limit.default, show_default=True, help=_LIMITS[limit.name])
        command = option(command)
    return command


@click.command("agent", short_help="run a node's agent")
@click.option("--node-name", envvar="NODE_NAME", metavar="NAME", help="this node's name  [default: $NODE_NAME, else the host name]")
@cluster_options
@click.option(
    "--plugin-dir",
    type=GivenPath(),
    metavar="DIR",
    default=Path("/var/lib/kubelet/plugins_registry"),
    show_default=True,
    help="where drivers register",
)
@click.option(
    "--state-dir", type=GivenPath(), metavar="DIR", default=Path("/var/lib/podvitals"), show_default=True, help="what survives a restart"
)
@click.option("--leave", multiple=True, metavar="DRIVER", help="do not watch this driver; take what the kubelet says of it (repeatable)")
@click.option("--listen", metavar="HOST:PORT", help="also answer /state, /metrics, /healthz and /readyz there  [default: a socket alone]")
@click.option(
    "--namespace",
    default="kube-system",
    metavar="NAME",
    show_default=True,
    envvar="PODVITALS_NAMESPACE",
    help="where the agent's Lease lives",
)
@click.option(
    "--post-mortem-window",
    type=_SECONDS,
    metavar="SECONDS",
    default=600.0,
    show_default=True,
    help="seconds after a pod's end in which its faults are added",
)
@limit_options
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="of the lines on stderr")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True, help="from which on"
)
def command(**options: Any) -> None:
    """Run the agent of a node.

    It hears the DRA drivers registered in the plugin directory and says in each pod's condition podvitals.dev/DevicesHealthy, in its
    annotation podvitals.dev/devices and in events which of the pod's devices is unhealthy, why and since when. It runs beside a kubelet
    and never writes the kubelet's own field. It needs to read pods of its node and their claims, to patch pods/status, to create and
    patch events, and to keep Lease podvitals-NODE.
    """
    # Nothing that a start makes is garbage: looking for it again and again is an eighth of the time until pods are told the truth.
    gc.disable()
    try:
        from podvitals.agent import log

        settings = _settings(options)
        config = Where.of(options).config()
        log.start(options["log_format"], options["log_level"])
        asyncio.run(_run(settings, config))
    finally:
        gc.enable()


def _settings(options: dict[str, Any]) -> "AgentSettings":
    from podvitals.agent.compose import AgentSettings
    from podvitals.agent.listen import parse_address
    from podvitals.device.key import check_driver_name, check_node_name

    return AgentSettings(
        node=check_node_name(options["node_name"] or socket.gethostname().lower()),
        plugin_dir=options["plugin_dir"],
        state_dir=options["state_dir"],
        leave=frozenset(check_driver_name(name) for name in options["leave"]),
        namespace=options["namespace"],
        listen=parse_address(options["listen"]) if options["listen"] else None,
        window=options["post_mortem_window"],
        limits=Limits(**{limit.name: options[f"limit_{limit.name}"] for limit in fields(Limits)}),
    )


async def _run(settings: "AgentSettings", config: "ClusterConfig") -> None:
    from podvitals.agent.compose import Agent
    from podvitals.cli.ending import until_told
    from podvitals.kube.client import Client

    async with Client(config) as client:
        agent = Agent(settings, client)
        starting = asyncio.create_task(_start(agent), name="agent: start")
        try:
            await until_told(asyncio.create_task(agent.run(), name="agent"))
        finally:
            starting.cancel()


async def _start(agent: "Agent") -> None:
    """Has garbage collected once the agent has told its pods, and what is there by then, which stays, never looked through again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_START):
            await agent.node.ready.wait()
            await agent.synced.wait()
            await asyncio.sleep(FIRST_WORDS)
    gc.collect()
    gc.freeze()
    gc.enable()
