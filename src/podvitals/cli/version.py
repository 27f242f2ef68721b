"""`podvitals version`."""

import click

from podvitals import __version__


@click.command(name="version")
def command() -> None:
    """Print the version."""
    click.echo(f"podvitals {__version__}")
