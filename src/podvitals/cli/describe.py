"""`podvitals describe pod NAME` (or pod/NAME) and `podvitals describe device NAME`."""

from typing import Any

import click

from podvitals.cli.kinds import kind_called, kind_named, offered
from podvitals.cli.options import (
    Where,
    agent_namespace_option,
    cluster_options,
    exit_code_option,
    exit_if_ill,
    namespace_option,
    output_option,
    run,
    told_if_slow,
)
from podvitals.cli.output import columns, encode, print_lines
from podvitals.device.health import Health
from podvitals.errors import InvalidInput


@click.command(name="describe", no_args_is_help=True)
@click.argument("kind", metavar="pod|device", shell_complete=offered)
@click.argument("name", required=False)
@namespace_option
@click.option("--all", "all_devices", is_flag=True, help="list a pod's healthy devices too")
@output_option
@cluster_options
@agent_namespace_option
@exit_code_option
@click.pass_context
def command(ctx: click.Context, /, kind: str, name: str | None, **options: Any) -> None:
    """Tell everything about a pod's devices, or about one device.

    \b
    pod NAME     which of its devices is unhealthy, why, since when, whether that explains its crashes, and what to do
    device NAME  its health and why, who holds it, its last faults

    A pod is NAME, or NAMESPACE/NAME; a device is DRIVER/POOL/DEVICE, or a tail of that which only one device has. Like kubectl, it also
    takes KIND/NAME: pod/llm-0."""
    of, first = kind_named(kind)
    of = of or kind_called(kind)
    if of is None:
        some = "NAME" if name or "/" in kind else kind
        raise click.UsageError(f"{kind!r} is none of pod, device: `describe pod {some}`, `describe device {some}`", ctx)
    empty, name = name == "", first or name or ""
    if of not in ("pods", "devices"):
        wanted = " ".join(word for word in ("podvitals get", of, name) if word)
        raise click.UsageError(f"it describes pods and devices; of {of}, `{wanted}` tells what is known", ctx)
    if empty and not name:
        raise InvalidInput(f"the name of {of} is empty: say which one is meant")
    if not name:
        raise click.UsageError("Missing argument 'NAME'", ctx)
    (_pod if of == "pods" else _device)(name, **options)


def _pod(name: str, namespace: str | None, form: str, all_devices: bool, exit_code: bool, **where: Any) -> None:
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


def _device(name: str, form: str, exit_code: bool, **where: Any) -> None:
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
        view = await told_if_slow(client, Reading(client, agent_namespace).pod(namespace or client.config.namespace, name))
        return view, client.wall()


async def _read_devices(where: Where, agent_namespace: str) -> Any:
    from podvitals.cli.cluster import Reading
    from podvitals.cli.snapshot import read_devices

    async with where.client() as client:
        reading = Reading(client, agent_namespace)
        snapshot = await told_if_slow(client, read_devices(reading))
        return snapshot.devices, reading.missing, client.wall()
