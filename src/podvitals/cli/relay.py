"""`podvitals relay`: stands in for drivers at the kubelet, until SIGTERM or Ctrl-C; `podvitals relay status`: what it says of itself."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.options import Command, GivenPath, output_option

if TYPE_CHECKING:
    from podvitals.relay.run import Relay, RelaySettings

_RUN_DIR = Path("/var/lib/podvitals/relay")
_SOCKET = "relay.sock"


def _run_dir_option(command: Command) -> Command:
    return click.option(
        "--run-dir",
        type=GivenPath(),
        metavar="DIR",
        default=_RUN_DIR,
        show_default=True,
        help="for the endpoints' sockets; the same path for the kubelet",
    )(command)


@click.group("relay", short_help="stand in for drivers at the kubelet", invoke_without_command=True)
@click.option(
    "--plugin-dir",
    type=GivenPath(),
    metavar="DIR",
    default=Path("/var/lib/podvitals/plugins_registry"),
    show_default=True,
    help="where drivers register with the relay",
)
@click.option(
    "--kubelet-dir",
    type=GivenPath(),
    metavar="DIR",
    default=Path("/var/lib/kubelet/plugins_registry"),
    show_default=True,
    help="where the kubelet finds registrations",
)
@_run_dir_option
@click.option("--listen", metavar="HOST:PORT", help="also answer /state, /metrics, /healthz and /readyz there  [default: a socket alone]")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="of the lines on stderr")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True, help="from which on"
)
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Stand in for DRA drivers at this node's kubelet.

    A driver that registers in the relay's plugin directory is registered with the kubelet under its own name, at an endpoint of the relay
    that never goes away. Its calls pass through as bytes and are held while it is away; its health is served from a ledger that ends
    leases on time. The relay needs no access to the Kubernetes API and keeps nothing on disk.
    """
    if context.invoked_subcommand is not None:
        return
    from podvitals.agent import log
    from podvitals.agent.listen import parse_address
    from podvitals.relay.run import RelaySettings

    settings = RelaySettings(options["plugin_dir"], options["kubelet_dir"], options["run_dir"])
    address = parse_address(options["listen"]) if options["listen"] else None
    log.start(options["log_format"], options["log_level"])
    asyncio.run(_serve(settings, address))


async def _serve(settings: "RelaySettings", address: tuple[str, int] | None) -> None:
    from podvitals.agent.listen import Answers, Listener
    from podvitals.relay.run import Relay
    from podvitals.relay.state import metrics

    relay = Relay(settings)

    async def scrape() -> bytes:
        return metrics(relay.state())

    await relay.prepare()
    listener = Listener(Answers(lambda: _encoded(relay), scrape, relay.waiting), settings.run_dir / _SOCKET, address)
    await listener.start()
    try:
        await _until_told(asyncio.create_task(relay.run(), name="relay"))
    finally:
        await listener.stop()


async def _until_told(task: "asyncio.Task[None]") -> None:
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        if received[0] is signal.SIGINT:
            raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _encoded(relay: "Relay") -> bytes:
    import msgspec

    return msgspec.json.encode(relay.state())


@command.command("status", short_help="what the relay of this node says of itself")
@_run_dir_option
@output_option
def status(run_dir: Path, form: str) -> None:
    """Ask this node's relay which drivers it stands in for, and how each stands with the kubelet.

    Exits with 3 where no relay answers.
    """
    from podvitals.cli.output import encode

    answer = json.loads(asyncio.run(_ask(run_dir / _SOCKET)))
    if form in ("json", "yaml"):
        click.echo(encode(answer, form), nl=False)
        return
    for line in _page(answer, time.time(), wide=form == "wide"):
        click.echo(line)


async def _ask(path: Path) -> bytes:
    from podvitals.errors import LocalError

    try:
        async with asyncio.timeout(5.0):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"GET /state HTTP/1.1\r\nHost: relay\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError:
        raise LocalError(f"the relay at {path} does not answer: it hangs; see its log, or restart it") from None
    except OSError as error:
        raise LocalError(f"no relay answers at {path}: {error.strerror or error}; is it running, and with this --run-dir?") from None
    first = head.split(b"\r\n", 1)[0].decode("latin-1")
    if " 200 " not in first:
        raise LocalError(f"the relay at {path} answered {first!r}; see its log")
    return body


def _page(answer: dict[str, Any], now: float, *, wide: bool) -> list[str]:
    from podvitals.cli.output import Table, age

    lines = [f"not ready: waiting for {what}" for what in answer["waiting"]]
    if not answer["drivers"]:
        return [*lines, f"No driver is registered in {answer['pluginDir']}."]
    header = (
        "DRIVER",
        "KUBELET",
        "STREAMS",
        "DEVICES",
        "LEASE",
        "HELD",
        "FAILED",
        "REFUSED",
        "DRIVER'S ENDPOINT",
        "LAST REPORT",
        "STAND-IN",
    )
    rows = []
    for one in answer["drivers"]:
        newest = next((e for e in one["endpoints"] if e["speaks"]), None) or next((e for e in one["endpoints"] if e["connected"]), None)
        heard = max((e["lastReport"] for e in one["endpoints"]), default=0.0)
        lease = one["smallestLease"]
        rows.append(
            (
                one["driver"],
                one["kubelet"],
                str(one["watchers"]),
                str(one["devices"]),
                "" if lease is None else f"{lease:g}s",
                str(one["calls"]["held"]),
                str(one["calls"]["failed"]),
                str(sum(sum(e["refusals"].values()) for e in one["endpoints"])),
                "none connected" if newest is None else newest["endpoint"],
                age(now - heard) + " ago" if heard else "never",
                ", ".join(stand_in["endpoint"] for stand_in in one["standIns"]),
            )
        )
    return lines + Table(header, rows, wide_from=10).lines(wide=wide)
