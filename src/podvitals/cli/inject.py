"""`podvitals inject DEVICE HEALTH`: breaks or mends a simulated device, by writing its file."""

import os
from pathlib import Path

import click

from podvitals.cli.options import GivenPath

_HELP = """Make the simulated device DEVICE say HEALTH: Healthy, "Unhealthy: what is wrong" or "Unknown: why".

DIR is the directory that `podvitals driver NAME --detector sim:DIR` reads; it is a path of the node, so on a cluster run this on the node
(or in the driver's pod). The lab prints the line that sets PODVITALS_SIM_DIR.

\b
  podvitals inject gpu-3 "Unhealthy: Xid 79: GPU has fallen off the bus" --action power-cycle
  podvitals inject gpu-3 --clear
"""


@click.command("inject", help=_HELP)
@click.argument("device")
@click.argument("health", required=False)
@click.option(
    "--action", metavar="ACTION", default="", help="what a person should do: restart-app, reset-gpu, reboot, power-cycle or service"
)
@click.option("--clear", is_flag=True, help="mend it: the same as HEALTH Healthy")
@click.option("--dir", "directory", type=GivenPath(), metavar="DIR", envvar="PODVITALS_SIM_DIR", help="default: $PODVITALS_SIM_DIR")
def command(device: str, health: str | None, action: str, clear: bool, directory: Path | None) -> None:
    from podvitals.detect.detector import Reading
    from podvitals.detect.sim import parse_state, write_state
    from podvitals.errors import InvalidInput

    if bool(health) == clear:
        raise InvalidInput('say what the device shall be, such as "Unhealthy: Xid 79", or --clear, not both')
    if directory is None:
        raise InvalidInput("no directory of simulated devices: set PODVITALS_SIM_DIR (the lab prints it), or pass --dir")
    said = parse_state(health or "Healthy")
    path = _file(directory, device)
    write_state(path, Reading(said.health, said.message, action or said.action))
    click.echo(f"{path.name} is now {said.health}{': ' if said.message else ''}{said.message}")


def _file(directory: Path, device: str) -> Path:
    """The device's file; `device` may be a key, `driver/pool/gpu-3`."""
    from podvitals.detect.sim import is_device
    from podvitals.errors import InvalidInput, LocalError

    try:
        names = sorted(name for name in os.listdir(directory) if is_device(name))
    except (FileNotFoundError, NotADirectoryError):
        raise LocalError(f"{directory} is not a directory: name the one the driver's detector reads (sim:DIR), on its node") from None
    except OSError as error:
        raise LocalError(f"cannot read {directory}: {error.strerror}; it belongs to who runs the driver") from None
    name = device.rpartition("/")[2]
    if name not in names:
        raise InvalidInput(f"no simulated device {device!r} in {directory}; there is {', '.join(names[:20]) or 'none'}")
    return directory / name
