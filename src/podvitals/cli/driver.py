"""`podvitals driver NAME --detector SPEC`: a DRA driver whose devices are watched by detectors, without writing one."""

from typing import Any

import click

from podvitals.driver.flags import driver_flags

_HELP = """Run a DRA driver named NAME on this node: its detectors find the devices, read their health and report it to the kubelet.

\b
Detectors (--detector, once or several times):
  sim:DIR[,model=NAME][,memory=QUANTITY]   simulated devices, one file each (see: podvitals inject)
  files:PATTERN[,PATTERN...]               device nodes and files, such as files:/dev/accel*
  net:PATTERN[,PATTERN...]                 network interfaces, such as net:eth*,bond0
Each also takes interval=, timeout= and lease= (seconds).

\b
  podvitals driver gpu.example.com --detector sim:/run/sim,interval=1
"""


@click.command("driver", help=_HELP)
@click.argument("name")
@click.option("--detector", "detectors", metavar="SPEC", multiple=True, required=True, help="what to watch, and how")
@driver_flags
def command(name: str, detectors: tuple[str, ...], **flags: Any) -> None:
    from podvitals.detect.spec import parse
    from podvitals.driver.plugin import Driver

    Driver(name, *map(parse, detectors)).run(flags)
