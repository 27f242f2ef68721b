"""`podvitals rules`: what signals mean, and how an operator's own rules would change it."""

from pathlib import Path

import click

from podvitals.cli.options import GivenPath

_HELP = """Look at the rules by which signals of hardware become verdicts, and try out your own.

\b
  podvitals rules list --family pcie
  podvitals rules show xid.79
  podvitals rules explain xid 63
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
@click.option("-o", "--output", "form", type=click.Choice(["table", "wide", "json", "yaml"]), default="table", show_default=True)
@_OVER
def list_rules(family: str, form: str, rules_file: Path | None) -> None:
    """List rules: what they match, what that means, how it ends."""
    from podvitals.cli import rules_page
    from podvitals.cli.output import encode, longest_cell, print_lines

    rules = rules_page.chosen(rules_file)
    found = rules_page.of_family(rules, family)
    if form in ("json", "yaml"):
        click.echo(encode({"rules": [rules_page.document(rule) for rule in found]}, form), nl=False)
        return
    print_lines(rules_page.table(found).lines(wide=form == "wide", longest=longest_cell(form)))


@command.command("show")
@click.argument("rule")
@_OVER
def show(rule: str, rules_file: Path | None) -> None:
    """Show one rule as it is written, so that it can be copied into a file of your own."""
    from podvitals.cli import rules_page

    click.echo(rules_page.toml(rules_page.named(rules_page.chosen(rules_file), rule)), nl=False)


@command.command("explain")
@click.argument("what")
@click.argument("code", required=False)
@_OVER
def explain(what: str, code: str | None, rules_file: Path | None) -> None:
    """Explain a signal: `explain xid 63`, `explain pcie.aer_fatal`, `explain xid.79`."""
    from podvitals.cli import rules_page
    from podvitals.cli.output import print_lines

    print_lines(rules_page.explained(rules_page.chosen(rules_file), what, code))


@command.command("test")
@click.argument("file", type=GivenPath())
@click.option("--replay", type=GivenPath(), metavar="RECORDING", help="a recording (podvitals check --record) to try them on")
@click.pass_context
def test(ctx: click.Context, file: Path, replay: Path | None) -> None:
    """Check a file of rules, and tell what it would have changed in a recording.

    Exit code: 0 nothing would have been different, 1 something would, 2 the file is wrong."""
    from podvitals.cli import rules_page
    from podvitals.cli.checking import records_of
    from podvitals.cli.output import print_lines
    from podvitals.detect.rules.load import builtin, load_file

    ours, theirs = load_file(file), builtin()
    print_lines(rules_page.changed(theirs, ours))
    if replay is not None:
        lines, different = rules_page.compared(theirs, ours, tuple(records_of(replay)))
        print_lines(lines)
        ctx.exit(1 if different else 0)
