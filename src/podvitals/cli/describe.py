"""`podvitals describe pod NAME` (or pod/NAME) and `podvitals describe device NAME`."""

from typing import Any

import click

from podvitals.cli.kinds import kind_called, kind_named
from podvitals.cli.options import (
    Where,
    agent_namespace_option,
    cluster_options,
    exit_code_option,
    exit_if_ill,
    namespace_option,
    output_option,
    run,
)
from podvitals.cli.output import columns, encode, print_lines
from podvitals.device.health import Health


class _Kinds(click.Group):
    """`describe KIND NAME`, and `describe KIND/NAME` as kubectl takes it."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        kind, name = kind_named(args[0])
        rest = [name, *args[1:]] if kind else args[1:]
        kind = kind or kind_called(args[0])
        if kind is None:
            raise click.UsageError(f"{args[0]!r} is none of {', '.join(self.commands)}: `describe pod NAME`, `describe device NAME`", ctx)
        if kind[:-1] not in self.commands:
            wanted = " ".join(("podvitals get", kind, *(word for word in rest[:1] if not word.startswith("-"))))
            raise click.UsageError(f"it describes pods and devices; of {kind}, `{wanted}` tells what is known", ctx)
        return super().resolve_command(ctx, [kind[:-1], *rest])


@click.group(name="describe", cls=_Kinds)
def command() -> None:
    """Tell everything about a pod's devices, or about one device."""


@command.command(name="pod", short_help="a pod: which device is unhealthy, why, and whether it explains the crash")
@click.argument("name")
@namespace_option
@cluster_options
@agent_namespace_option
@output_option
@exit_code_option
@click.option("--all", "all_devices", is_flag=True, help="list healthy devices too")
def describe_pod(name: str, namespace: str | None, form: str, all_devices: bool, exit_code: bool, **where: Any) -> None:
    """Which of the pod's devices is unhealthy, why, since when, whether that explains its crashes, and what to do.

    NAME is a pod, or namespace/pod."""
    from podvitals.cli.documents import pod_document
    from podvitals.cli.pod_page import Reader, pod_page

    name = name.removeprefix("pod/")
    if "/" in name:
        namespace, name = name.split("/", 1)
    view, now = run(_read_pod(Where.of(where), namespace, name, where["agent_namespace"]))
    if form in ("json", "yaml"):
        click.echo(encode(pod_document(view), form), nl=False)
    else:
        print_lines(pod_page(view, Reader(now, width=columns(), all_devices=all_devices or form == "wide")))
    exit_if_ill(exit_code, view.health)


@command.command(name="device", short_help="a device: its health and why, who holds it, its faults")
@click.argument("name")
@cluster_options
@agent_namespace_option
@output_option
@exit_code_option
def describe_device(name: str, form: str, exit_code: bool, **where: Any) -> None:
    """One device: its health and why, who holds it, what its driver says of it.

    NAME is driver/pool/device, or a tail of that which only one device has."""
    from podvitals.cli.device_page import device_page, the_one
    from podvitals.cli.documents import device_document
    from podvitals.cli.pod_page import Reader

    devices, missing, now = run(_read_devices(Where.of(where), where["agent_namespace"]))
    view = the_one(devices, name, missing)
    if form in ("json", "yaml"):
        click.echo(encode(device_document(view), form), nl=False)
    else:
        print_lines(device_page(view, missing, Reader(now, width=columns())))
    exit_if_ill(exit_code, view.health or Health.UNKNOWN)


async def _read_pod(where: Where, namespace: str | None, name: str, agent_namespace: str) -> Any:
    from podvitals.cli.cluster import Reading

    async with where.client() as client:
        view = await Reading(client, agent_namespace).pod(namespace or client.config.namespace, name)
        return view, client.wall()


async def _read_devices(where: Where, agent_namespace: str) -> Any:
    from podvitals.cli.cluster import Reading
    from podvitals.cli.snapshot import read_devices

    async with where.client() as client:
        reading = Reading(client, agent_namespace)
        snapshot = await read_devices(reading)
        return snapshot.devices, reading.missing, client.wall()
