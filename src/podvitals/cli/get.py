"""`podvitals get pods|devices|drivers|nodes`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.kinds import KINDS, kind_called, kind_named, offered
from podvitals.cli.options import (
    Where,
    agent_namespace_option,
    cluster_options,
    exit_code_option,
    exit_if_ill,
    namespace_option,
    run,
    told_if_slow,
)
from podvitals.cli.output import FORMATS, Table, encode, line_width, print_lines
from podvitals.device.health import Health

if TYPE_CHECKING:
    from podvitals.cli.cluster import Reading

_REDRAW_AFTER = 2.0
"""Seconds between two looks of `get -w` where nothing the API watches has changed: an agent's own state is only asked for."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line. `watched`: it was answered before, so that a name may be gone for a while."""

    kind: str
    names: tuple[str, ...]
    where: Where
    namespace: str | None
    all_namespaces: bool
    labels: str | None
    node: str | None
    unhealthy: bool
    form: str
    header: bool
    agent_namespace: str
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A table for people and documents for machines of the same rows; `keys`: a name for each, with more behind a space where that is not
    enough; `worst` over all of them; `missing`: what could not be read."""

    table: Table
    keys: Sequence[str]
    documents: Sequence[dict[str, Any]]
    worst: Health | None
    missing: Sequence[str] = ()


@click.command(name="get")
@click.argument("kind", shell_complete=offered)
@click.argument("names", nargs=-1)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="pods of all namespaces")
@click.option("-l", "--selector", "labels", metavar="SELECTOR", help="pods with these labels, e.g. app=train,tier!=test")
@click.option("--node", metavar="NAME", help="only what is on this node")
@click.option("--unhealthy", is_flag=True, help="only what is not Healthy")
@click.option("-w", "--watch", is_flag=True, help="after the list, print each row again when it changes")
@click.option(
    "-o", "--output", "form", type=click.Choice((*FORMATS, "name")), default="table", show_default=True, help="wide: all columns, uncut"
)
@click.option("--no-headers", is_flag=True, help="without the table's first line")
@cluster_options
@agent_namespace_option
@exit_code_option
def command(kind: str, names: tuple[str, ...], watch: bool, exit_code: bool, no_headers: bool, **options: Any) -> None:
    """List pods, devices, drivers or nodes with the health of their devices.

    NAMES restrict the list: names of pods, drivers or nodes, or device names (driver/pool/device or a tail of it). Like kubectl, it also
    takes KIND/NAME: pod/llm-0."""
    fields = ("namespace", "all_namespaces", "labels", "node", "unhealthy", "form", "agent_namespace")
    given = {name: options[name] for name in fields}
    of, first = kind_named(kind)
    of = of or kind_called(kind)
    if of is None:
        raise click.UsageError(f"{kind!r} is none of {', '.join(KINDS)}")
    request = Request(kind=of, names=_names(of, first, names), where=Where.of(options), header=not no_headers, **given)
    if watch and request.form in ("json", "yaml", "name"):
        raise click.UsageError("-w prints a table; for machines use `kubectl get pods -w -o json`")
    if request.labels and request.kind != "pods":
        raise click.UsageError(f"-l chooses pods; for {request.kind} give names, or --unhealthy")
    answer = run(_watch(request) if watch else _once(request))
    exit_if_ill(exit_code, answer.worst)


def _names(kind: str, first: str, others: Sequence[str]) -> tuple[str, ...]:
    """The names of `get KIND NAME...`, or of `get KIND/NAME KIND/NAME...`, where `first` is the first of them."""
    if not first:
        return tuple(others)
    named = [kind_named(other) for other in others]
    if any(its != kind for its, _ in named):
        raise click.UsageError(f"after {kind[:-1]}/{first} each name is written {kind[:-1]}/NAME: one kind at a time")
    return first, *(name for _, name in named)


async def _once(request: Request) -> Answer:
    from podvitals.cli.cluster import Reading

    async with request.where.client() as client:
        request = replace(request, namespace=request.namespace or client.config.namespace)
        answer = await told_if_slow(client, _ask(Reading(client, request.agent_namespace), request))
    if request.form in ("json", "yaml"):
        kind = {"pods": "PodVitals", "devices": "DeviceVitals", "drivers": "DriverVitals", "nodes": "NodeVitals"}[request.kind]
        click.echo(encode({"kind": f"{kind}List", "items": list(answer.documents)}, request.form), nl=False)
    elif request.form == "name":
        print_lines(dict.fromkeys(f"{request.kind[:-1]}/{key.partition(' ')[0]}" for key in answer.keys))
    elif answer.table.rows:
        print_lines(answer.table.lines(wide=request.form == "wide", header=request.header, width=line_width(request.form)))
    else:
        print_lines([_nothing(request, answer.missing)])
    for sentence in answer.missing:
        click.echo(f"note: {sentence}", err=True)
    return answer


def _nothing(request: Request, missing: Sequence[str]) -> str:
    some = "unhealthy " if request.unhealthy else ""
    named = f" named {', '.join(request.names)}" if request.names else ""
    labelled = f" with labels {request.labels}" if request.labels else ""
    node = f" on node {request.node}" if request.node else ""
    place = "" if request.kind != "pods" or request.all_namespaces else f" in namespace {request.namespace} (-A: all namespaces)"
    return f"No {some}{request.kind}{named}{labelled}{node}{place}{', as far as could be read' if missing else ''}."


async def _ask(reading: "Reading", request: Request) -> Answer:
    return await (_pods if request.kind == "pods" else _others)(reading, request)


async def _pods(reading: "Reading", request: Request) -> Answer:
    from podvitals.cli.documents import pod_document
    from podvitals.cli.tables import pods_table

    namespace = None if request.all_namespaces else request.namespace or reading.client.config.namespace
    views = await reading.pods(namespace, request.labels, await reading.agents())
    views = [view for view in views if not request.names or view.pod.metadata.name in request.names or view.name in request.names]
    found = {view.pod.metadata.name for view in views} | {view.name for view in views}
    gone = next((name for name in request.names if name not in found), None)
    hint = await reading.hint(namespace, gone) if gone is not None and namespace is not None and not request.watched else ""
    _refuse_unknown(request, found, hint)
    views = [view for view in views if request.node in (None, view.pod.spec.node_name)]
    if request.unhealthy:
        views = [view for view in views if view.health not in (None, Health.HEALTHY)]
    table = pods_table(views, reading.client.wall(), all_namespaces=request.all_namespaces)
    worst = _worst(view.health for view in views)
    keys = [view.name if request.all_namespaces else view.pod.metadata.name for view in views]
    return Answer(table, keys, [pod_document(view) for view in views], worst, reading.missing)


async def _others(reading: "Reading", request: Request) -> Answer:
    from podvitals.cli import documents, tables
    from podvitals.cli.snapshot import read_devices

    snapshot, now = await read_devices(reading), reading.client.wall()
    if request.kind == "devices":
        devices = [view for view in snapshot.devices if not request.names or any(view.key.matches(name) for name in request.names)]
        _refuse_unknown(request, {name for name in request.names for view in devices if view.key.matches(name)})
        devices = [view for view in devices if request.node in (None, view.node)]
        devices = [view for view in devices if not request.unhealthy or view.health is not Health.HEALTHY]
        rows, keys = [documents.device_document(view) for view in devices], [str(view.key) for view in devices]
        return Answer(tables.devices_table(devices, now), keys, rows, _worst(view.health for view in devices), reading.missing)
    if request.kind == "drivers":
        drivers = [view for view in snapshot.drivers if not request.names or view.driver in request.names]
        _refuse_unknown(request, {view.driver for view in drivers})
        drivers = [view for view in drivers if request.node in (None, view.node)]
        drivers = [view for view in drivers if not request.unhealthy or not view.voice.well]
        rows = [documents.driver_document(view) for view in drivers]
        keys = [f"{view.driver} on {view.node} {view.source} {view.endpoint}".rstrip() for view in drivers]
        return Answer(tables.drivers_table(drivers, now), keys, rows, None, reading.missing)
    nodes = [view for view in snapshot.nodes if not request.names or view.name in request.names]
    _refuse_unknown(request, {view.name for view in nodes})
    nodes = [view for view in nodes if request.node in (None, view.name)]
    nodes = [view for view in nodes if not request.unhealthy or view.broken or view.unknown]
    worst = _worst(Health.UNHEALTHY if view.broken else Health.UNKNOWN if view.unknown else Health.HEALTHY for view in nodes)
    rows, keys = [documents.node_document(view, now) for view in nodes], [view.name for view in nodes]
    return Answer(tables.nodes_table(nodes, now), keys, rows, worst, reading.missing)


def _worst(healths: Iterable[Health | None]) -> Health | None:
    known = [health for health in healths if health is not None]
    return Health.worst(known) if known else None


def _refuse_unknown(request: Request, found: set[str], hint: str = "") -> None:
    """`hint`: what was probably meant. Somebody who watches waits for what is gone to come back."""
    from podvitals.errors import NotFound

    missing = [name for name in request.names if name not in found]
    if missing and not request.watched:
        place = ""
        if request.kind == "pods":
            place = " in any namespace" if request.all_namespaces else f" in namespace {request.namespace} (another: -n, all: -A)"
        there_is = f"there is no {request.kind[:-1]} {', '.join(missing)}{place}"
        raise NotFound(f"{there_is}{hint}" if hint else f"{there_is}: `podvitals get {request.kind}` lists them", status=404)


async def _watch(request: Request) -> Answer:
    """Prints the rows that changed, as kubectl does, until Ctrl-C; an API that cannot be reached for a while ends it only at the start."""
    from podvitals.cli.cluster import Reading
    from podvitals.cli.watching import News, changes
    from podvitals.errors import ApiError, ApiUnreachable
    from podvitals.kube.resources import LEASES, NODES, PODS, SLICES

    news = News(request.form, header=request.header)
    async with request.where.client() as client:
        if request.kind == "pods" and not request.all_namespaces:
            request = replace(request, namespace=request.namespace or client.config.namespace)
        resources = (PODS,) if request.kind == "pods" else (PODS, SLICES, NODES, LEASES)
        async with changes(client, resources, request.namespace if request.kind == "pods" else None, _REDRAW_AFTER) as changed:
            while True:
                try:
                    answer = await told_if_slow(client, _ask(Reading(client, request.agent_namespace), request))
                except (ApiError, ApiUnreachable) as error:
                    if not request.watched:
                        raise
                    news.note((str(error),))
                else:
                    request = replace(request, watched=True)
                    news.note(answer.missing)
                    news.tell(answer.table, answer.keys)
                await changed()
