"""`podvitals detectors`: the families of devices, what each needs, and whether it can run on this machine."""

from pathlib import Path

import click

from podvitals.cli.options import root_option, roots_at

_HELP = """List the families of devices that podvitals knows, what each needs, and whether it can find something on this machine.

Any of them can be given to `podvitals driver NAME --detector FAMILY` and to `podvitals check --detector FAMILY`.
"""


@click.command("detectors", help=_HELP)
@click.option("-o", "--output", "form", type=click.Choice(["table", "wide", "json", "yaml"]), default="table", show_default=True)
@root_option
def command(form: str, root: Path) -> None:
    from podvitals.cli.output import Table, encode, line_width, print_lines
    from podvitals.detect.spec import FAMILIES, family_of

    roots = roots_at(root)
    rows = []
    for name in FAMILIES:
        if (family := family_of(name)) is not None:
            why_not = family.available(roots)
            rows.append({"family": name, "about": family.about, "needs": family.needs, "available": not why_not, "why": why_not})
    if form in ("json", "yaml"):
        click.echo(encode({"detectors": rows}, form), nl=False)
        return
    lines = [(str(r["family"]), "yes" if r["available"] else "no", str(r["about"]), str(r["why"] or r["needs"])) for r in rows]
    print_lines(Table(("FAMILY", "HERE", "ABOUT", "NEEDS, OR WHY NOT"), lines).lines(width=line_width(form)))
