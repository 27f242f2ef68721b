"""podvitals' waits, made short: a dead agent is found out after 40 s, and 200 rounds of that would take hours.

Only constants are changed, by name, in each process before it begins; the code is the one that ships. A constant that is gone or renamed
ends the process with a sentence, so that this table cannot rot unseen.
"""

import inspect
import re
from collections.abc import Mapping
from importlib import import_module

AGENT: Mapping[str, Mapping[str, float]] = {
    # In this order: a module copies the names that it imports.
    "podvitals.fleet.inventory": {"AGENT_SILENT_AFTER": 3.0},
    "podvitals.node.fact": {"GONE_AFTER": 2.0},
    "podvitals.node.endpoint": {"LONGEST_WAIT": 1.0},
    "podvitals.kube.follow": {"LONGEST_DELAY": 2.0},
    "podvitals.pod.turns": {"LONGEST_PAUSE": 1.0},
    "podvitals.pod.outbox": {"REFUSED_PAUSE": 2.0},
    "podvitals.pod.publish": {"PATCH_TIMEOUT": 1.0},
    "podvitals.pod.desk": {"UNTOLD_LIMIT": 1.0},
    "podvitals.agent.listen": {"TRY_AGAIN": 0.5},
    "podvitals.agent.lease": {"PERIOD": 0.75, "STANDING": 2.25, "RETRY": 0.2},
}
KUBELET: Mapping[str, Mapping[str, float]] = {
    "podvitals.node.fact": {"GONE_AFTER": 2.0},
    "podvitals.node.endpoint": {"LONGEST_WAIT": 1.0},
    "podvitals.kube.follow": {"LONGEST_DELAY": 2.0},
    "podvitals.lab.kubelet.machine": {"RETRY_CAP": 1.0},
}
READER: Mapping[str, Mapping[str, float]] = {
    "podvitals.fleet.inventory": {"AGENT_SILENT_AFTER": 3.0},
    "podvitals.kube.follow": {"LONGEST_DELAY": 2.0},
}


def shorten(table: Mapping[str, Mapping[str, float]]) -> None:
    """Gives each constant of the table its value here. SystemExit where there is none of that name any more."""
    for module_name, values in table.items():
        module = import_module(module_name)
        for name, value in values.items():
            if re.search(rf"^(.*, )?{name}\b.* = ", inspect.getsource(module), re.MULTILINE) is None:
                raise SystemExit(f"tests/crash/times.py shortens {module_name}.{name}, which is not there any more: say where it went")
            setattr(module, name, value)


def current(module: str, name: str) -> float:
    """What a constant is now."""
    value: float = getattr(import_module(module), name)
    return value
