"""`podvitals relay`: stands in for drivers at the kubelet, until SIGTERM or Ctrl-C; `podvitals relay status`: what it says of itself."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.options import Command, GivenPath, output_option

if TYPE_CHECKING:
    from podvitals.relay.bypass import Bypass

NO_KEEPER = "No keeper holds its sockets: prepares that begin while it restarts will fail. Start one: podvitals relay keep"
_HEADER = ("DRIVER", "KUBELET", "STREAMS", "DEVICES", "LEASE", "HELD", "FAILED", "REFUSED", "DRIVER'S ENDPOINT", "LAST REPORT", "STAND-IN")
_LEAST = ("LEASE", "STREAMS", "REFUSED", "DEVICES", "DRIVER'S ENDPOINT", "HELD")


def _absolute(_context: click.Context, _parameter: click.Parameter, path: Path) -> Path:
    """The kubelet and whoever reads a log have another working directory."""
    return Path(os.path.abspath(path))


def _directory(flag: str, default: Path, text: str) -> Callable[[Command], Command]:
    return click.option(flag, type=GivenPath(), callback=_absolute, metavar="DIR", default=default, show_default=True, help=text)


_plugin_dir = _directory("--plugin-dir", Path("/var/lib/podvitals/plugins_registry"), "where drivers register with the relay")
_kubelet_dir = _directory("--kubelet-dir", Path("/var/lib/kubelet/plugins_registry"), "where the kubelet finds registrations")
_run_dir = _directory("--run-dir", Path("/var/lib/podvitals/relay"), "for the endpoints' sockets; the same path for the kubelet")


@click.group("relay", short_help="stand in for drivers at the kubelet", invoke_without_command=True)
@_plugin_dir
@_kubelet_dir
@_run_dir
@click.option(
    "--on-change",
    multiple=True,
    metavar="DRIVER",
    help="this driver says only what changes: ask whether it lives, and believe what it said last while it does (repeatable)",
)
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
    _without_tls()
    from podvitals.agent import log
    from podvitals.agent.listen import parse_address
    from podvitals.cli.relaying import serve
    from podvitals.device.key import check_driver_name
    from podvitals.relay.run import RelaySettings

    on_change = frozenset(check_driver_name(name) for name in options["on_change"])
    settings = RelaySettings(options["plugin_dir"], options["kubelet_dir"], options["run_dir"], on_change)
    address = parse_address(options["listen"]) if options["listen"] else None
    log.start(options["log_format"], options["log_level"])
    serve(settings, address)


def _without_tls() -> None:
    """asyncio and hashlib load libssl and libcrypto where they are: an eighth of the memory of a process that never needs them."""
    for module in ("ssl", "_hashlib"):
        if module not in sys.modules:
            sys.modules[module] = None  # type: ignore[assignment]  # the import system's own way to say "not there"


@command.command("status", short_help="what the relay of this node says of itself")
@_run_dir
@output_option
def status(run_dir: Path, form: str) -> None:
    """Ask this node's relay which drivers it stands in for, and how each stands with the kubelet.

    Exits with 3 where no relay answers.
    """
    from podvitals.cli.output import encode, line_width
    from podvitals.cli.relaying import ask

    answer = json.loads(ask(run_dir))
    if form in ("json", "yaml"):
        click.echo(encode(answer, form), nl=False)
        return
    for line in _page(answer, time.time(), line_width(form), wide=form == "wide"):
        click.echo(line)


def _page(answer: dict[str, Any], now: float, width: int | None = None, *, wide: bool) -> list[str]:
    from podvitals.claim.times import unix
    from podvitals.cli.output import Table, age

    lines = [f"not ready: waiting for {what}" for what in answer["waiting"]]
    if "keeper" in answer:
        lines.append("A keeper holds its sockets." if answer["keeper"] else NO_KEEPER)
    if not answer["drivers"]:
        return [*lines, f"No driver is registered in {answer['pluginDir']}."]
    rows = []
    for one in answer["drivers"]:
        newest = next((e for e in one["endpoints"] if e["speaks"]), None) or next((e for e in one["endpoints"] if e["connected"]), None)
        heard = max((unix(e["lastReport"]) or 0.0 for e in one["endpoints"]), default=0.0)
        lease = one["smallestLeaseSeconds"]
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
    return lines + Table(_HEADER, rows, wide_from=10, least=_LEAST).lines(wide=wide, width=width)


@command.command("keep", short_help="hold the relay's sockets while it restarts")
@_run_dir
def keep(run_dir: Path) -> None:
    """Hold the listening sockets of this node's relay, so that a killed relay's callers wait for the next one.

    A process of 4 MB that does nothing else; the relay finds it by itself. Without it, prepares that begin in the second in which no
    relay runs fail, and are tried again 60 to 90 s later.
    """
    from importlib.util import find_spec

    from podvitals.relay.keeping import NAME
    from podvitals.relay.places import make_run_dir
    from podvitals.wire.endpoint import check_path

    path = check_path(run_dir / NAME)
    if make_run_dir(run_dir):
        click.echo(f"podvitals: {run_dir} was not there: no relay has run with this --run-dir yet", err=True)
    # A program of its own, without what this one has loaded.
    program = find_spec("podvitals.relay.keeper")
    assert program is not None
    assert program.origin is not None
    os.execv(sys.executable, [sys.executable, "-I", "-S", program.origin, str(path)])


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
    import asyncio

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
