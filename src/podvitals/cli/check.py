"""`podvitals check`: this machine's devices and their health, without any Kubernetes."""

from typing import Any

import click

from podvitals.cli.options import GivenPath, root_option
from podvitals.cli.output import FORMATS

_HELP = """Read the health of this machine's devices, by the rules that drivers use. Needs no Kubernetes; as root it sees more.

Without --detector every family looks that can find something here (see: podvitals detectors). A single look cannot see what grows: counters
are baselines, and what has to last is taken as lasting. --watch goes on looking, and prints what changes.

Exit code: 0 all healthy (degraded counts as healthy), 1 some device is unhealthy, 2 some device's health cannot be told, or the command
line is wrong, 3 a file cannot be read or written.

\b
  podvitals check
  podvitals check --detector nvidia --detector nic:eth* -o json
  podvitals check -o prometheus > /var/lib/node_exporter/devices.prom
  podvitals check --watch --record gpu-07.jsonl --anonymise
  podvitals check --replay gpu-07.jsonl --rules ours.toml
"""


@click.command("check", help=_HELP)
@click.option("--detector", "detectors", metavar="SPEC", multiple=True, help="what to look at (once or several times)")
@click.option("--rules", "rules_file", type=GivenPath(), metavar="FILE", help="rules of your own, over those podvitals comes with")
@click.option("--watch", "-w", is_flag=True, help="go on looking until Ctrl-C")
@click.option("-o", "--output", "form", type=click.Choice([*FORMATS, "prometheus"]), default="table", show_default=True)
@click.option("--unhealthy", is_flag=True, help="leave out devices of which there is nothing to say")
@click.option("--record", type=GivenPath(), metavar="FILE", help="write down everything that is read")
@click.option("--replay", type=GivenPath(), metavar="FILE", help="read a recording instead of this machine")
@click.option("--anonymise", is_flag=True, help="leave serial numbers, addresses and names of programs out of the recording")
@root_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    from podvitals.cli.checking import Request, check

    ctx.exit(check(Request(**options)))
