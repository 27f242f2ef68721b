"""`podvitals completion bash|zsh`: prints the script; where to put it stands in its first line."""

import click

_SHELLS = {"bash": "click.shell_completion:BashComplete", "zsh": "click.shell_completion:ZshComplete"}


@click.command(name="completion")
@click.argument("shell", type=click.Choice(sorted(_SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  source <(podvitals completion bash)      in ~/.bashrc
    zsh:   source <(podvitals completion zsh)       in ~/.zshrc, after compinit
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    name = root.info_name or "podvitals"
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # both names of the choice are click's own
    variable = f"_{name.upper().replace(' ', '_').replace('-', '_')}_COMPLETE"
    click.echo(f"# {name}: source <({name} completion {shell})")
    click.echo(completion_class(root.command, {}, name, variable).source())
