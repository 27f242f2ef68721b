"""`podvitals conformance driver SOCKET` and `podvitals conformance node`: whether the other side keeps the contract."""

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.options import GivenPath, Where, cluster_options, run

if TYPE_CHECKING:
    from podvitals.testing.conformance.case import Case, Result
    from podvitals.testing.conformance.node import NodeSettings, Stage
    from podvitals.wire.messages import ClaimRef

_ABOUT = """Try whether a DRA driver, or the node side that listens to drivers, keeps the contract between the two.

Each case is a sentence of the contract, whose sections (CONTRACT §3) stand in docs/contract.md. Exit code: 0 no case failed, 1 one did, 2
wrong input. In CI: --junit FILE.
"""
_DRIVER = """Call the DRA driver behind SOCKET, its registration socket, as a kubelet and other watchers would.

Any driver in any language. It need not be registered, and may be: nothing is registered, and no claim prepared unless --claim names one.

\b
  podvitals conformance driver /var/lib/kubelet/plugins_registry/gpu.example.com-reg.sock
  podvitals conformance driver SOCKET --restart-command "systemctl restart gpu-driver" --junit report.xml
"""


_NODE = """Play a DRA driver on a node of a cluster, and look whether the node side tells its pods the truth.

It registers scripted drivers in DIR, makes a namespace, device classes, slices, claims and pods, looks at the pods' status, and deletes
everything again, also after Ctrl-C. It runs on the node, for it needs DIR; what it makes carries the label podvitals.dev/conformance.

\b
  --subject field      the kubelet's allocatedResourcesStatus
  --subject condition  podvitals' condition podvitals.dev/DevicesHealthy and annotation podvitals.dev/devices

\b
  podvitals conformance node --subject field --junit report.xml
"""


@click.group("conformance", help=_ABOUT)
def command() -> None:
    pass


def _suite_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What both suites take."""
    options = (
        click.option("--only", metavar="CASE", multiple=True, help="run these cases only; * and ? as in a shell; may be repeated"),
        click.option("--skip", metavar="CASE", multiple=True, help="leave these cases out"),
        click.option("--list", "listing", is_flag=True, help="print the cases and their sentences, and run none"),
        click.option("--junit", type=GivenPath(), metavar="FILE", help="write a JUnit report there"),
        click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True),
        click.option("--restart-command", metavar="COMMAND", default="", help="a shell command that restarts what is tried"),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command.command("driver", help=_DRIVER)
@click.argument("socket", type=GivenPath(), required=False)
@_suite_options
@click.option("--claim", "claims", metavar="NAMESPACE/NAME/UID", multiple=True, help="a claim allocated for the driver, to prepare")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1.0),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="the longest wait; a driver whose smallest lease is longer is not watched to its end",
)
def driver(socket: Path | None, claims: Sequence[str], timeout: float, **options: Any) -> None:
    from podvitals.testing.conformance.case import chosen, exit_code
    from podvitals.testing.conformance.driver import CASES
    from podvitals.testing.conformance.driver.subject import DriverSubject
    from podvitals.testing.conformance.execute import execute

    cases = chosen(CASES, options["only"], options["skip"])
    if options["listing"]:
        _list(cases, options["form"])
        return
    subject = DriverSubject(_socket(socket), timeout, tuple(map(_claim, claims)), options["restart_command"])
    with _Progress(cases, options["form"]) as told:
        results = run(execute(cases, subject, limit=4 * timeout + 30, told=told))
    _end(f"driver {subject.socket}", results, options)
    click.get_current_context().exit(exit_code(results))


@command.command("node", help=_NODE)
@click.option("--node-name", envvar="NODE_NAME", metavar="NAME", help="the Node object's name  [default: $NODE_NAME, else the host name]")
@click.option(
    "--plugin-dir",
    type=GivenPath(),
    metavar="DIR",
    default=Path("/var/lib/kubelet/plugins_registry"),
    show_default=True,
    help="where the node side looks for drivers",
)
@click.option("--cdi-dir", type=GivenPath(), metavar="DIR", default=Path("/var/run/cdi"), show_default=True, help="where CDI files belong")
@click.option("--subject", "reads", type=click.Choice(["field", "condition"]), default="field", show_default=True, help="what is read")
@click.option("--image", default="busybox:stable", show_default=True, help="of the pods' containers; needs sh and sleep")
@click.option(
    "--patience",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="how long to wait beyond what is due, to tell how late it is",
)
@click.option(
    "--soon",
    type=click.FloatRange(min=0.05),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="what counts as at once; more on a busy machine",
)
@click.option("--at-once", type=click.IntRange(1, 32), default=8, show_default=True, help="cases that run beside each other")
@_suite_options
@cluster_options
def node(node_name: str | None, plugin_dir: Path, cdi_dir: Path, at_once: int, **options: Any) -> None:
    from podvitals.device.key import check_node_name
    from podvitals.testing.conformance.case import chosen, exit_code
    from podvitals.testing.conformance.node import CASES, NodeSettings

    cases = chosen(CASES, options["only"], options["skip"])
    if options["listing"]:
        _list(cases, options["form"])
        return
    name = check_node_name(node_name or socket.gethostname().lower())
    # The scripted driver is refused and cut off on purpose; that is no news.
    logging.getLogger("podvitals").setLevel(logging.CRITICAL)
    restart = _restart(options["restart_command"]) if options["restart_command"] else None
    settings = NodeSettings(
        plugin_dir=_directory(plugin_dir),
        node=name,
        reads=options["reads"],
        cdi_dir=cdi_dir.absolute(),
        image=options["image"],
        patience=options["patience"],
        restart=restart,
        soon=options["soon"],
    )
    with _Progress(cases, options["form"]) as told:
        results = run(_try(Where.of(options), settings, cases, at_once, told))
    _end(f"node {name}, {options['reads']}", results, options)
    click.get_current_context().exit(exit_code(results))


async def _try(
    where: Where, settings: "NodeSettings", cases: "Sequence[Case[Stage]]", at_once: int, told: "Callable[[Result], None]"
) -> "list[Result]":
    from podvitals.testing.conformance.node import try_node

    async with where.client() as client:
        return await try_node(client, settings, cases, at_once=at_once, told=told)


def _directory(path: Path) -> Path:
    import os

    from podvitals.errors import InvalidInput, LocalError

    if not path.is_dir():
        raise InvalidInput(f"{path} is not a directory: name the kubelet's plugins_registry, on this node")
    if not os.access(path, os.W_OK):
        raise LocalError(f"{path} is not writable: run as root")
    return path.absolute()


def _restart(line: str) -> Callable[[], Awaitable[None]]:
    async def restart() -> None:
        from podvitals.testing.conformance.case import Skipped

        process = await asyncio.create_subprocess_shell(line, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL)
        if code := await process.wait():
            raise Skipped(f"the restart command ended with {code}")

    return restart


def _socket(path: Path | None) -> Path:
    from podvitals.errors import InvalidInput
    from podvitals.wire.endpoint import is_socket

    if path is None:
        raise InvalidInput("say which driver: its registration socket, such as /var/lib/kubelet/plugins_registry/gpu.example.com-reg.sock")
    if is_socket(path):
        return path.absolute()
    what = f"{path} is no socket" if path.exists() else f"there is no {path} (does the driver run?)"
    raise InvalidInput(f"{what}: name the driver's registration socket, in the kubelet's plugins_registry{_sockets(path)}")


def _sockets(path: Path) -> str:
    """What there is in its place, for who is nearly right."""
    from podvitals.wire.endpoint import is_socket

    place = path if path.is_dir() else path.parent
    try:
        found = sorted(each.name for each in place.iterdir() if is_socket(each))
    except OSError:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f" (in {place} there is {', '.join(found[:3])}{more})" if found else ""


def _claim(text: str) -> "ClaimRef":
    from podvitals.errors import InvalidInput
    from podvitals.wire.messages import ClaimRef

    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise InvalidInput(f"--claim {text!r}: write NAMESPACE/NAME/UID, as kubectl get resourceclaims -A -o yaml shows them")
    return ClaimRef(parts[0], parts[2], parts[1])


# ── What is printed ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_TINT = {"pass": "green", "fail": "red", "warn": "yellow"}


def _list(cases: "Sequence[Case[Any]]", form: str) -> None:
    from podvitals.cli.output import Table, encode, print_lines

    if form == "json":
        listed = [{"name": case.name, "source": case.source, "sentence": case.sentence, "do": case.do} for case in cases]
        click.echo(encode({"cases": listed}, "json"), nl=False)
        return
    print_lines(Table(("CASE", "SOURCE", "SENTENCE"), [(case.name, case.source, case.sentence) for case in cases]).lines())


class _Progress(AbstractContextManager["Callable[[Result], None]"]):
    """Shows on a terminal how far it is, on one line that is gone in the end."""

    def __init__(self, cases: "Sequence[Case[Any]]", form: str) -> None:
        self._left, self._all = len(cases), len(cases)
        self._shown = form == "table" and sys.stderr.isatty()

    def __enter__(self) -> "Callable[[Result], None]":
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _tell(self, result: "Result") -> None:
        self._left -= 1
        if self._shown:
            print(f"\r\x1b[K{self._all - self._left} of {self._all}: {result.name}", end="", file=sys.stderr, flush=True)


def _end(subject: str, results: "Sequence[Result]", options: dict[str, Any]) -> None:
    from podvitals.cli.output import encode, print_lines
    from podvitals.testing.conformance.report import document, junit, summary

    if options["junit"] is not None:
        _write(options["junit"], junit(subject, results))
    if options["form"] == "json":
        click.echo(encode(document(subject, results), "json"), nl=False)
        return
    print_lines([*_table(results), "", *_advice(results), summary(results)])


def _write(path: Path, data: bytes) -> None:
    from podvitals.errors import LocalError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from None


def _table(results: "Sequence[Result]") -> list[str]:
    from textwrap import shorten

    from podvitals.cli.output import Table, colours
    from podvitals.testing.conformance.report import milliseconds

    seen = [shorten(result.finding.seen, 100, placeholder="…") for result in results]
    rows = [(result.name, str(result.outcome), milliseconds(result.finding.ms), what) for result, what in zip(results, seen, strict=True)]
    lines = Table(("CASE", "OUTCOME", "TIME", "SEEN"), rows).lines()
    if not colours():
        return lines
    return [lines[0], *(click.style(line, fg=_TINT.get(row[1])) for line, row in zip(lines[1:], rows, strict=True))]


def _advice(results: "Sequence[Result]") -> list[str]:
    """A paragraph for each case that failed or warns: the sentence, what was seen, what to do."""
    from podvitals.cli.output import strong
    from podvitals.device.text import clean
    from podvitals.testing.conformance.case import Outcome

    lines = []
    for result in results:
        if result.outcome in (Outcome.FAIL, Outcome.WARN):
            lines += [strong(f"{result.outcome.upper()} {result.name}"), f"  {result.source}: {result.sentence}"]
            lines += [f"  Seen: {clean(result.finding.seen)}"] + ([f"  Do:   {result.finding.do}"] if result.finding.do else []) + [""]
    return lines
