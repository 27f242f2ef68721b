"""`podvitals lab`: the whole system on this machine, no cluster needed, and the story of a device that breaks."""

from pathlib import Path

import click

from podvitals.cli.options import GivenPath

_HELP = """Run a small Kubernetes on this machine and tell the story of a device that breaks, on the live system.

API server, scheduler and kubelet are one process; drivers and agent are the processes a cluster runs. The device is a network link (veth)
where one can be made, else a file. Everything lives in one directory and is gone after Ctrl-C.
"""


@click.command("lab", help=_HELP)
@click.option("--once", is_flag=True, help="leave after the story: 0 if each step was seen through the API, else 1")
@click.option("--dir", "directory", type=GivenPath(), metavar="DIR", help="where the lab lives  [default: /tmp/podvitals-lab-UID]")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", default=0, help="of the API server on 127.0.0.1  [default: any free one]"
)
@click.option("--device", type=click.Choice(["auto", "veth", "file"]), default="auto", show_default=True, help="what breaks")
@click.option(
    "--back-off", metavar="BASE:CAP", default="1:10", show_default=True, help="seconds between restarts, or 'upstream' for 10:300"
)
@click.option(
    "--feature-gates", metavar="NAME=BOOL,...", default="", help="ResourceHealthStatus, ResourceHealthStatusMessage  [default: both on]"
)
@click.pass_context
def command(ctx: click.Context, once: bool, directory: Path | None, port: int, device: str, back_off: str, feature_gates: str) -> None:
    # The order matters for the start: drivers and agent are on their way before this process imports what it needs itself.
    from podvitals.lab.estate import Estate, EstateSettings, process_began
    from podvitals.lab.faults import parse_choice
    from podvitals.lab.kubelet.backoff import BackoffSettings
    from podvitals.lab.kubelet.gates import Gates
    from podvitals.lab.layout import default_root
    from podvitals.lab.screen import Screen
    from podvitals.lab.signals import ignored, interrupting, put_off

    start, screen = process_began(), Screen()
    backoff, gates = BackoffSettings.parse(back_off), Gates.parse(feature_gates)
    estate = Estate(EstateSettings(directory or default_root(), port, parse_choice(device)))
    with interrupting():
        try:
            with put_off():
                estate.open()
                screen.title("podvitals lab", "a small Kubernetes on this machine, and a device that really breaks")
                if estate.cleaned:
                    screen.say(f"(a lab that had died was cleaned up first: {', '.join(estate.cleaned)})")
                # Ctrl-C in the middle of an import may come out as another exception (RuntimeError from __set_name__, Python 3.11).
                from podvitals.lab.compose import LabSettings
                from podvitals.lab.visit import Visit

            code = Visit(estate, LabSettings(backoff, gates), screen, start, once).run()
        finally:
            with ignored():
                estate.close()
        screen.line()
        screen.line("The lab is gone, and with it its processes, files and interfaces.")
    ctx.exit(code)
