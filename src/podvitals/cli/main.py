"""The composition root: `podvitals COMMAND` and, with the people's verbs only, `kubectl vitals COMMAND`.

Exit codes: 0 done; 1 what was asked about is not so (`--exit-code`, a story step not seen); 2 wrong input; 3 this machine stands in the
way; 4 the Kubernetes API refused or did not answer; 130 interrupted. Health is not an exit code unless `--exit-code` asks for it.
"""

import errno
import os
import sys
from importlib import import_module
from typing import Final, NoReturn

import click

from podvitals.errors import LocalError, PodvitalsError

# A table and not imports: the help page needs a line a command, not the modules behind them.
_COMMANDS: Final = {
    "lab": ("podvitals.cli.lab", "a small Kubernetes on this machine, in which a device breaks and its pod says so"),
    "get": ("podvitals.cli.get", "list pods, devices, drivers or nodes with the health of their devices"),
    "describe": ("podvitals.cli.describe", "tell everything about a pod's devices, or about one device"),
    "agent": ("podvitals.cli.agent", "run a node's agent: what drivers report becomes conditions, annotations and events"),
    "relay": ("podvitals.cli.relay", "stand in for drivers at the kubelet, so that what it shows of their health is right in time"),
    "driver": ("podvitals.cli.driver", "run a DRA driver whose devices are watched by detectors"),
    "check": ("podvitals.cli.check", "read the health of this machine's devices, without any Kubernetes"),
    "detectors": ("podvitals.cli.detectors", "list the families of devices, and which can run on this machine"),
    "rules": ("podvitals.cli.rules", "list, explain and try out the rules by which signals become verdicts"),
    "inject": ("podvitals.cli.inject", "break or mend a simulated device"),
    "conformance": ("podvitals.cli.conformance", "try whether a driver, or the node side, keeps the contract between the two"),
    "completion": ("podvitals.cli.completion", "print the completion script for bash or zsh"),
    "version": ("podvitals.cli.version", "print the version"),
}
_PEOPLES_VERBS: Final = ("get", "describe", "completion", "version")


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called or completed."""

    def __init__(self, name: str, verbs: tuple[str, ...], help_text: str) -> None:
        super().__init__(name, help=help_text, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module = import_module(_COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, _COMMANDS[verb][1]) for verb in self._verbs])


_ABOUT = "podvitals: a pod says which of its devices is unhealthy, why, since when and what to do."


def main() -> NoReturn:
    """`podvitals`."""
    _run(LazyGroup("podvitals", tuple(_COMMANDS), _ABOUT), "podvitals")


def kubectl_vitals() -> NoReturn:
    """`kubectl vitals`: kubectl finds the executable kubectl-vitals on PATH and hands it the rest of the line."""
    _run(LazyGroup("kubectl vitals", _PEOPLES_VERBS, _ABOUT), "kubectl vitals")


def _run(group: click.Group, name: str) -> NoReturn:
    if not sys.platform.startswith("linux"):
        _say(f"{name}: podvitals reads Linux kernel interfaces and runs on Linux only; this is {sys.platform}")
        sys.exit(3)
    if sys.stdout is None:  # closed by who started us; nothing else shall get its number
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        sys.exit(_outcome(group, name))
    except PodvitalsError as error:
        _say(f"{name}: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show_usage(error, name)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except Exception as error:
        # The last line of defence: no traceback reaches a user.
        if os.environ.get("PODVITALS_DEBUG"):
            raise
        _say(f"{name}: internal error: {type(error).__name__}: {error}; PODVITALS_DEBUG=1 shows where")
        sys.exit(70)


def _outcome(group: click.Group, name: str) -> int:
    """Runs the command, or answers a shell that asks for completions. Not by `group.main()`, which makes a reader that left early
    (`podvitals get pods | head`) exit code 1."""
    variable = completion_variable(name)
    try:
        if variable in os.environ:
            from click.shell_completion import shell_complete

            return shell_complete(group, {}, name, variable, os.environ[variable])
        with group.make_context(name, sys.argv[1:]) as ctx:
            group.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except BrokenPipeError:
        # Keep the interpreter from flushing into the closed pipe on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise LocalError(f"cannot write {error.filename or 'the output'}: {os.strerror(error.errno).lower()}") from None
    return 0


def completion_variable(name: str) -> str:
    """The environment variable through which the completion script asks: `_PODVITALS_COMPLETE`, `_KUBECTL_VITALS_COMPLETE`."""
    return f"_{name.upper().replace(' ', '_').replace('-', '_')}_COMPLETE"


def _show_usage(error: click.ClickException, name: str) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _say(error.format_message())
        return
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" ({error.ctx.command_path} --help)"
    _say(f"{name}: {' '.join(error.format_message().split()).rstrip('.')}{hint}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
