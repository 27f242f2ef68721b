"""`podvitals relay`: stands in for drivers at the kubelet, until SIGTERM or Ctrl-C; `podvitals relay status`: what it says of itself."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.options import Command, GivenPath, output_option

if TYPE_CHECKING:
    from podvitals.relay.bypass import Bypass
    from podvitals.relay.run import Relay, RelaySettings

_SOCKET = "relay.sock"


def _directory(flag: str, default: Path, text: str) -> Callable[[Command], Command]:
    return click.option(flag, type=GivenPath(), metavar="DIR", default=default, show_default=True, help=text)


_plugin_dir = _directory("--plugin-dir", Path("/var/lib/podvitals/plugins_registry"), "where drivers register with the relay")
_kubelet_dir = _directory("--kubelet-dir", Path("/var/lib/kubelet/plugins_registry"), "where the kubelet finds registrations")
_run_dir = _directory("--run-dir", Path("/var/lib/podvitals/relay"), "for the endpoints' sockets; the same path for the kubelet")


@click.group("relay", short_help="stand in for drivers at the kubelet", invoke_without_command=True)
@_plugin_dir
@_kubelet_dir
@_run_dir
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
@_run_dir
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


@command.command("bypass", short_help="hand drivers to the kubelet directly, or take them back")
@click.argument("drivers", nargs=-1, metavar="[DRIVER]...")
@click.option("--end", is_flag=True, help="let the relay stand in for them again")
@_plugin_dir
@_kubelet_dir
@_run_dir
def bypass(drivers: tuple[str, ...], end: bool, plugin_dir: Path, kubelet_dir: Path, run_dir: Path) -> None:
    """Show drivers to the kubelet directly, round the relay; without names: every driver registered in the plugin directory.

    For the day the relay is the trouble: it works whether the relay runs, hangs or is gone. A mark keeps the relay from standing in for
    them until `--end`. While no relay runs, a driver that restarts has to be bypassed again.
    """
    from podvitals.relay.bypass import Bypass
    from podvitals.relay.places import Places

    way = Bypass(Places(kubelet_dir, run_dir))
    if end:
        _end_bypass(way, drivers or tuple(sorted(way.marked())))
    else:
        _begin_bypass(way, drivers, plugin_dir)


def _begin_bypass(way: "Bypass", drivers: tuple[str, ...], plugin_dir: Path) -> None:
    from podvitals.errors import InvalidInput
    from podvitals.relay.bypass import registered

    found = asyncio.run(registered(plugin_dir))
    known = {one.driver for one in found}
    if not known and not drivers:
        raise InvalidInput(f"no driver answers in {plugin_dir}: is --plugin-dir the relay's, and does a driver run?")
    chosen = set(drivers) or known
    way.mark(sorted(chosen))
    for one in found:
        if one.driver in chosen:
            way.unlink(one.driver, dead=True)
            link = way.link(one)
            click.echo(f"{one.driver}: " + (f"shown to the kubelet as {link}" if link is not None else "the kubelet is shown it already"))
    for driver in sorted(chosen - known):
        click.echo(
            f"{driver}: marked; it does not answer in {plugin_dir}. When it is back, a running relay shows it to the kubelet", err=True
        )
    click.echo("A relay that runs withdraws within 5 s. Undo: podvitals relay bypass --end")


def _end_bypass(way: "Bypass", drivers: tuple[str, ...]) -> None:
    if not drivers:
        click.echo("No driver is bypassed.")
        return
    way.unmark(drivers)
    for driver in drivers:
        click.echo(f"{driver}: a running relay stands in for it again within 2 s, and then takes the direct registration away")
