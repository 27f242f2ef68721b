"""`podvitals driver NAME --detector SPEC`: a DRA driver whose devices are watched by detectors, without writing one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podvitals.cli.options import GivenPath, root_option, roots_at
from podvitals.driver.flags import driver_flags

if TYPE_CHECKING:
    from podvitals.detect.detector import Detector
    from podvitals.detect.rules.rule import Rules
    from podvitals.driver.plugin import Beside

_HELP = """Run a DRA driver named NAME on this node: its detectors find the devices, read their health and report it to the kubelet.

\b
Detectors (--detector, once or several times; podvitals detectors lists the families of hardware):
  nvidia, amd, intel, pcie, nic, rdma ...  a family of hardware, and behind a colon which of its devices
  sim:DIR[,model=NAME][,memory=QUANTITY]   simulated devices, one file each (see: podvitals inject)
  files:PATTERN[,PATTERN...]               device nodes and files, such as files:/dev/accel*
  net:PATTERN[,PATTERN...]                 network interfaces, such as net:eth*,bond0
Each also takes interval=, timeout= and lease= (seconds).

\b
  podvitals driver gpu.example.com --detector sim:/run/sim,interval=1
  podvitals driver --health-for net.example.com --detector net:eth*
"""


@click.command("driver", help=_HELP)
@click.argument("name", required=False)
@click.option("--detector", "detectors", metavar="SPEC", multiple=True, required=True, help="what to watch, and how")
@click.option(
    "--health-for",
    metavar="DRIVER",
    help="hand out nothing: say what the detectors find of this driver's devices. NAME is then the name of this source  [podvitals]",
)
@click.option(
    "--map",
    "mapping",
    metavar="OURS=THEIRS",
    multiple=True,
    help="with --health-for: which of the driver's devices ours is (DEVICE or POOL/DEVICE), where attributes cannot tell",
)
@click.option("--rules", "rules_file", type=GivenPath(), metavar="FILE", help="rules of your own, over those podvitals comes with")
@root_option
@click.option("--listen", metavar="HOST:PORT", help="answer /metrics, /state, /healthz and /readyz there  [default: nowhere]")
@driver_flags
@click.pass_context
def command(context: click.Context, /, name: str | None, detectors: tuple[str, ...], health_for: str | None, **flags: Any) -> None:
    from podvitals.driver.plugin import Driver, HealthSource
    from podvitals.errors import InvalidInput

    mapping, listen = flags.pop("mapping"), flags.pop("listen")
    rules = _rules(flags.pop("rules_file"))
    watching = _made(detectors, rules, flags.pop("root"))
    beside = _beside(listen, watching, rules)
    if health_for is not None:
        from podvitals.driver.auxiliary import PLUGIN_DIR

        if context.get_parameter_source("plugin_dir") is click.core.ParameterSource.DEFAULT:
            flags["plugin_dir"] = PLUGIN_DIR
        HealthSource(health_for, *watching, name=name or "podvitals", mapping=mapping).run(flags, beside)
    elif name is None:
        raise InvalidInput("a driver needs a NAME, such as gpu.example.com; or say whose devices are watched with --health-for DRIVER")
    elif mapping:
        raise InvalidInput("--map says which of another driver's devices ours are: it goes with --health-for DRIVER")
    else:
        Driver(name, *watching).run(flags, beside)


def _rules(file: Path | None) -> "Rules | None":
    """Those of an operator; None for podvitals' own, which simulated devices never ask for."""
    from podvitals.detect.rules.load import load_file

    return load_file(file) if file is not None else None


def _made(specs: tuple[str, ...], rules: "Rules | None", root: Path) -> "list[Detector]":
    from podvitals.detect.spec import Equipment, parse

    equipment = Equipment(roots_at(root), rules)
    return [parse(spec, equipment) for spec in specs]


def _beside(listen: str | None, watching: "list[Detector]", rules: "Rules | None") -> "Beside":
    if listen is None:
        from podvitals.driver.plugin import alone

        return alone
    from podvitals.agent.listen import parse_address
    from podvitals.cli.driving import asked_at
    from podvitals.detect.rules.load import builtin

    return asked_at(parse_address(listen), watching, rules or builtin())
