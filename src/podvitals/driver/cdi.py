"""CDI files: how a prepared claim's devices reach its containers. One file a claim, written atomically, named by the claim's uid alone,
so that any instance of the driver finds what another wrote.

Format: the Container Device Interface specification, version 0.5.0, the oldest that allows device names as used here, so that every runtime
in use reads it. Kind `<driver>/claim`, one device for each device of the claim.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podvitals.detect.detector import Device
from podvitals.errors import InvalidInput, LocalError

VERSION = "0.5.0"
CLASS = "claim"
_UID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,126}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host, seen in the container."""

    host: Path
    container: Path
    options: tuple[str, ...] = ("ro", "nosuid", "nodev", "bind")


@dataclass(frozen=True, slots=True)
class CdiEdits:
    """What a container that uses a claim is given beside its devices' own nodes and environment."""

    env: Mapping[str, str] = field(default_factory=dict)
    nodes: Sequence[Path | str] = ()
    mounts: Sequence[Mount] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """One device of a claim. `share`: tells the shares of one device apart."""

    request: str
    device: Device
    share: str = ""


class CdiDirectory:
    """The driver's files in a CDI directory. Its methods block."""

    def __init__(self, directory: Path, driver: str) -> None:
        self._directory, self._driver = directory, driver

    def path(self, uid: str) -> Path:
        """Raises InvalidInput for a uid that cannot be part of a file's name."""
        if not _UID.fullmatch(uid):
            raise InvalidInput(f"claim uid {uid[:80]!r} is not a uid")
        return self._directory / f"{self._driver}-{CLASS}_{uid}.json"

    def device_id(self, uid: str, granted: Granted) -> str:
        """The qualified name, `gpu.example.com/claim=<uid>-<request>-<device>`. Unique in the cluster: the kubelet shows devices of the
        same id as one."""
        return f"{self._driver}/{CLASS}={_name(uid, granted)}"

    def write(self, uid: str, devices: Sequence[Granted], edits: CdiEdits) -> None:
        """Makes the claim's file say this, if it does not already. Readers see the old file or the new one."""
        path, text = self.path(uid), json.dumps(spec(self._driver, uid, devices, edits), indent=1, sort_keys=True) + "\n"
        with contextlib.suppress(OSError):
            if path.read_text() == text:
                return
        part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(part, "w", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise LocalError(f"cannot write CDI file {path}: {error.strerror}") from None

    def remove(self, uid: str) -> None:
        """Whoever wrote it; none is fine. With it goes what an instance that was killed while it wrote has left."""
        path = self.path(uid)
        try:
            for one in (path, *self._directory.glob(f".{path.name}.*.tmp")):
                one.unlink(missing_ok=True)
        except OSError as error:
            raise LocalError(f"cannot remove CDI file {path}: {error.strerror}") from None


def spec(driver: str, uid: str, devices: Sequence[Granted], edits: CdiEdits) -> dict[str, Any]:
    """The content of a claim's file. Looks at device nodes, so it blocks."""
    handles: dict[str, list[str]] = {}
    for granted in devices:
        handles.setdefault(granted.request.partition("/")[0], []).append(granted.device.handle)
    listed = []
    for granted in devices:
        request = granted.request.partition("/")[0]
        env = {
            f"PODVITALS_DEVICE_{_variable(granted.device.name)}": granted.device.handle,
            # Each device of a request says all of them: a container may be given several, and the last one's word stands.
            f"PODVITALS_REQUEST_{_variable(request)}": ",".join(handles[request]),
            **granted.device.env,
        }
        listed.append({"name": _name(uid, granted), "containerEdits": _edits(CdiEdits(env, granted.device.nodes))})
    whole: dict[str, Any] = {"cdiVersion": VERSION, "kind": f"{driver}/{CLASS}", "devices": listed}
    if edits.env or edits.nodes or edits.mounts:
        whole["containerEdits"] = _edits(edits)
    return whole


def _edits(edits: CdiEdits) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if edits.env:
        made["env"] = [f"{_checked(name)}={value}" for name, value in sorted(edits.env.items())]
    if nodes := [{"path": str(node)} for node in edits.nodes if _is_node(Path(node))]:
        made["deviceNodes"] = nodes
    if edits.mounts:
        made["mounts"] = [{"hostPath": str(m.host), "containerPath": str(m.container), "options": list(m.options)} for m in edits.mounts]
    return made


def _is_node(path: Path) -> bool:
    """Whether a runtime can make a device node of it. One that is gone stays listed: the container then fails saying so, and starts
    when it is back."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise InvalidInput(f"{name!r} cannot be the name of an environment variable")
    return name


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _name(uid: str, granted: Granted) -> str:
    parts: Iterable[str] = (uid, granted.request.replace("/", "."), granted.device.name, granted.share)
    return "-".join(filter(None, parts))
