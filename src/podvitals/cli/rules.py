"""`podvitals rules`: what signals mean, and how an operator's own rules would change it."""

from pathlib import Path

import click

from podvitals.cli.options import GivenPath

_HELP = """Look at the rules by which signals of hardware become verdicts, and try out your own.

\b
  podvitals rules list --family pcie
  podvitals rules show xid.79
  podvitals rules explain xid 63
  podvitals rules explain 'NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.'
  podvitals rules test ours.toml --replay gpu-07.jsonl
"""
_OVER = click.option(
    "--rules", "rules_file", type=GivenPath(), metavar="FILE", help="with rules of your own over those podvitals comes with"
)


@click.group("rules", help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    pass


@command.command("list")
@click.option("--family", metavar="NAME", default="", help="only the rules of one family")
@click.option("--lines", is_flag=True, help="the lines of the kernel log that are known, and the codes they are, instead")
@click.option("-o", "--output", "form", type=click.Choice(["table", "wide", "json", "yaml"]), default="table", show_default=True)
@_OVER
def list_rules(family: str, lines: bool, form: str, rules_file: Path | None) -> None:
    """List rules: what they match, what that means, how it ends."""
    from podvitals.cli import rules_page
    from podvitals.cli.output import encode, line_width, print_lines
    from podvitals.errors import InvalidInput

    if lines and family:
        raise InvalidInput("--lines lists lines of the kernel log, which are of no family: leave --family away")
    rules = rules_page.chosen(rules_file)
    found = rules_page.of_family(rules, family)
    if form in ("json", "yaml"):
        rows = list(map(rules_page.line_document, rules.lines.values())) if lines else list(map(rules_page.document, found))
        click.echo(encode({"lines" if lines else "rules": rows}, form), nl=False)
        return
    table = rules_page.lines_table(rules.lines.values()) if lines else rules_page.table(found)
    print_lines(table.lines(wide=form == "wide", width=line_width(form)))
    print_lines([] if lines else [rules_page.tally(found)])


@command.command("show")
@click.argument("rule")
@_OVER
def show(rule: str, rules_file: Path | None) -> None:
    """Show one rule, or one line of the kernel log (lines.xid), as it is written, to be copied into a file of your own."""
    from podvitals.cli import rules_page

    click.echo(rules_page.shown(rules_page.chosen(rules_file), rule), nl=False)


@command.command("explain")
@click.argument("what")
@click.argument("code", required=False)
@_OVER
def explain(what: str, code: str | None, rules_file: Path | None) -> None:
    """Explain a signal, a rule, or a line of the kernel log: `xid 63`, `pcie.aer_fatal`, `xid.79`, or the line in quotes."""
    from podvitals.cli.explain_page import explained
    from podvitals.cli.output import print_lines
    from podvitals.cli.rules_page import chosen

    print_lines(explained(chosen(rules_file), what, code))


@command.command("test")
@click.argument("file", type=GivenPath())
@click.option("--replay", type=GivenPath(), metavar="RECORDING", help="a recording (podvitals check --record) to try them on")
@click.pass_context
def test(ctx: click.Context, file: Path, replay: Path | None) -> None:
    """Check a file of rules, and tell what it would have changed in a recording.

    Exit code: 0 nothing would have been different, 1 something would, 2 the file is wrong."""
    from podvitals.cli.checking import records_of
    from podvitals.cli.output import print_lines
    from podvitals.cli.tryout_page import changed, compared, tried
    from podvitals.detect.rules.load import builtin, load_file

    ours, theirs = load_file(file), builtin()
    print_lines(changed(theirs, ours))
    if replay is not None:
        records = tuple(records_of(replay))
        lines, different = compared(theirs, ours, records)
        print_lines([*tried(ours, records), *lines])
        ctx.exit(1 if different else 0)
