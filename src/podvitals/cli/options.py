"""The options several commands share, and the one way they reach the Kubernetes API."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from podvitals.cli.output import FORMATS
from podvitals.device.health import Health
from podvitals.errors import InvalidInput

if TYPE_CHECKING:
    from podvitals.detect.roots import Roots
    from podvitals.kube.client import Client
    from podvitals.kube.config import ClusterConfig

T = TypeVar("T")
SLOW = 4.0
"""Seconds after which a command says what it waits for: more than it gives an agent that hangs."""
Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster a command speaks about."""

    kubeconfig: Path | None = None
    context: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Where":
        """From what `cluster_options` put among a command's arguments."""
        return cls(options["kubeconfig"], options["context"])

    def config(self) -> "ClusterConfig":
        from podvitals.kube.locate import load_config

        return load_config(self.kubeconfig, self.context)

    @asynccontextmanager
    async def client(self) -> "AsyncIterator[Client]":
        import asyncio

        from podvitals.kube.client import Client

        config = await asyncio.to_thread(self.config)
        async with Client(config) as client:
            yield client


class GivenPath(click.Path):
    """A path that was really given: an empty one (a variable that is not set) would be the working directory.

    Whether it can be read is told by who reads it, with what it is for."""

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("it is empty: is a variable not set?", param, ctx)
        return super().convert(value, param, ctx)


def root_option(command: Command) -> Command:
    return click.option(
        "--root", type=GivenPath(), metavar="DIR", default=Path("/"), help="where the machine's sys, dev and proc are  [default: /]"
    )(command)


def roots_at(root: Path) -> "Roots":
    """The directories that `root_option` asked for. Raises InvalidInput where it is no such place."""
    from podvitals.detect.roots import Roots

    if root == Path("/"):
        return Roots()
    if not (root / "sys").is_dir():
        raise InvalidInput(f"there is no {root}/sys: --root takes the directory under which the host's /sys, /dev and /proc are mounted")
    return Roots.under(root)


def cluster_options(command: Command) -> Command:
    command = click.option("--context", metavar="NAME", help="the kubeconfig context to use")(command)
    return click.option("--kubeconfig", type=GivenPath(), metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config, then in-cluster")(
        command
    )


def namespace_option(command: Command) -> Command:
    return click.option("-n", "--namespace", metavar="NAME", help="default: the context's, else 'default'")(command)


def agent_namespace_option(command: Command) -> Command:
    return click.option(
        "--agent-namespace",
        metavar="NAME",
        default="kube-system",
        show_default=True,
        envvar="PODVITALS_NAMESPACE",
        help="where agents keep their Leases",
    )(command)


def output_option(command: Command) -> Command:
    return click.option("-o", "--output", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="how it is printed")(
        command
    )


def exit_code_option(command: Command) -> Command:
    return click.option("--exit-code", is_flag=True, help="exit with 1 if a device shown is not Healthy")(command)


def exit_if_ill(asked: bool, health: Health | None) -> None:
    """For `--exit-code`: ends the command with 1 unless `health` is Healthy, or there is nothing to be ill (None)."""
    if asked and health not in (None, Health.HEALTHY):
        click.get_current_context().exit(1)


async def told_if_slow(client: "Client", answer: Awaitable[T]) -> T:
    """Awaits `answer`, and says what it waits for when that takes longer than SLOW: a silent terminal could be anything."""
    import asyncio

    words = f"waiting for the Kubernetes API at {client.config.address} ..."
    saying = asyncio.get_running_loop().call_later(SLOW, lambda: click.echo(words, err=True))
    try:
        return await answer
    finally:
        saying.cancel()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine; Ctrl-C cancels it and comes out as KeyboardInterrupt."""
    import asyncio

    return asyncio.run(main)
