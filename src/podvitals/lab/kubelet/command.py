"""What a container runs: its command line, environment and directory, from the pod's spec and the CDI edits. Pure.

As upstream: `$(NAME)` in command, args and env is replaced by the variable's value, `$$` is a dollar, an unknown name stays as it stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from podvitals.lab.kubelet.cdi import Edits
from podvitals.lab.kubelet.status import HOST
from podvitals.lab.pods import EnvSource, RunnableContainer, RunnablePod

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class CommandLine:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str
    """Empty: a directory of the container's own."""


def problem(container: RunnableContainer) -> str:
    """Why the lab can never start this container; '' if it can."""
    if not container.command:
        return (
            "no command specified: the lab has no images and runs containers as processes, so spec.containers[].command must name a program"
        )
    if container.env_from:
        return "envFrom is not supported in the lab: write the variables under env"
    for variable in container.env:
        if variable.value_from is not None and variable.value_from.field_ref is None:
            return f"env {variable.name}: the lab knows value and valueFrom.fieldRef only"
    return ""


def command_line(pod: RunnablePod, container: RunnableContainer, edits: Edits, base: Mapping[str, str]) -> CommandLine:
    """`base`: what every container of the lab finds in its environment; the spec's own variables replace it, CDI edits replace both."""
    env = {"PATH": DEFAULT_PATH, **base, "HOSTNAME": pod.metadata.name}
    known: dict[str, str] = {}
    for variable in container.env:
        value = expand(variable.value, known) if variable.value_from is None else field_value(pod, variable.value_from)
        known[variable.name] = value
    env |= known
    argv = tuple(expand(word, known) for word in (*container.command, *container.args))
    return CommandLine(argv, env | dict(edits.env), container.working_dir)


def expand(text: str, known: Mapping[str, str]) -> str:
    def value(reference: re.Match[str]) -> str:
        if reference[0] == "$$":
            return "$"
        return known.get(reference[1], reference[0])

    return _REFERENCE.sub(value, text)


def field_value(pod: RunnablePod, source: EnvSource) -> str:
    """The downward API, as far as a process of this machine has such facts; '' for the rest."""
    path = source.field_ref.field_path if source.field_ref is not None else ""
    if (keyed := _KEYED.fullmatch(path)) is not None:
        return (pod.metadata.labels if keyed[1] == "labels" else pod.metadata.annotations).get(keyed[2], "")
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": HOST,
        "status.podIP": HOST,
    }.get(path, "")
