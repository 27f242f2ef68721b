"""`podvitals completion bash|zsh`: prints the script; where to put it stands in its first line."""

import click

_SHELLS = ("bash", "zsh")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  source <(podvitals completion bash)      in ~/.bashrc
    zsh:   source <(podvitals completion zsh)       in ~/.zshrc, after compinit
    """
    from click.shell_completion import get_completion_class

    from podvitals.cli.main import completion_variable

    root = ctx.find_root()
    # The executable behind `kubectl vitals` is kubectl-vitals: a shell completes commands by one word.
    name = (root.info_name or "podvitals").replace(" ", "-")
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # both names of the choice are click's own
    click.echo(f"# {name}: source <({name} completion {shell})")
    click.echo(completion_class(root.command, {}, name, completion_variable(name)).source())
