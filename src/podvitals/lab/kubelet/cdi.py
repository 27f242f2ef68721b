"""What a driver's CDI files ask for a container. Pure; `specs.py` reads the files.

The lab's containers are processes of this machine: environment edits are applied; device nodes, mounts and hooks cannot be, and are named
in a note instead, because the process sees this machine's devices and files as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podvitals.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Edits:
    """`notes`: what was asked for and has no effect here, a phrase each."""

    env: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class Unresolvable(InvalidInput):
    """A CDI id that no file explains."""


def edits(specs: Sequence[Mapping[str, Any]], ids: Iterable[str]) -> Edits:
    """The edits of all devices, in the order of `ids`; a spec's common edits come once, before those of its devices. Raises Unresolvable.

    An id is `vendor/class=device` (CDI 1.0, qualified device name). Of several specs with one kind and device the last wins, as by
    priority."""
    found: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for spec in specs:
        for device in _list(spec, "devices"):
            found[f"{spec.get('kind', '')}={device.get('name', '')}"] = spec, device
    wanted = list(dict.fromkeys(ids))
    if missing := [name for name in wanted if name not in found]:
        raise Unresolvable(f"unresolvable CDI devices {', '.join(missing)}")
    env: dict[str, str] = {}
    notes: dict[str, None] = {}
    common: list[int] = []
    for name in wanted:
        spec, device = found[name]
        if id(spec) not in common:
            common.append(id(spec))
            _apply(spec.get("containerEdits"), env, notes)
        _apply(device.get("containerEdits"), env, notes)
    return Edits(tuple(env.items()), tuple(notes))


def _apply(part: object, env: dict[str, str], notes: dict[str, None]) -> None:
    if not isinstance(part, Mapping):
        return
    for entry in part.get("env") or ():
        name, equals, value = str(entry).partition("=")
        if equals and name:
            env[name] = value
    for node in _list(part, "deviceNodes"):
        notes[f"device node {node.get('path', '?')}"] = None
    for mount in _list(part, "mounts"):
        notes[f"mount {mount.get('containerPath', '?')}"] = None
    for hook in _list(part, "hooks"):
        notes[f"hook {hook.get('hookName', '?')}"] = None


def _list(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = of.get(name) or ()
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, Sequence) else []
