"""What a driver process is told: where it runs, where its sockets go, which API it speaks to."""

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from podvitals.device.key import check_driver_name, check_node_name
from podvitals.errors import InvalidInput, LocalError
from podvitals.wire.endpoint import LONGEST_PATH, check_path

PLUGIN_DIR = Path("/var/lib/kubelet/plugins_registry")
CDI_DIR = Path("/var/run/cdi")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Settings:
    """`node`: the node's name, which is the pool's too. `plugin_dir`: the kubelet's plugins_registry. `pod_uid`: tells the sockets of two
    versions apart while they run side by side in a rolling update; empty: one version at a time."""

    node: str
    plugin_dir: Path = PLUGIN_DIR
    cdi_dir: Path = CDI_DIR
    pod_uid: str = ""

    def __post_init__(self) -> None:
        check_node_name(self.node)
        if self.pod_uid and not _UID.fullmatch(self.pod_uid):
            raise InvalidInput(f"pod uid {self.pod_uid!r} is not a uid: pass the pod's metadata.uid by the downward API")


def default_node() -> str:
    """$NODE_NAME, which a DaemonSet sets by the downward API; else the host's name, as the kubelet has it."""
    return os.environ.get("NODE_NAME") or socket.gethostname().lower()


def check_driver(name: str) -> str:
    """A driver's name is also the vendor of its CDI devices, which must begin with a letter (CDI specification, kind)."""
    if not check_driver_name(name)[0].isalpha():
        raise InvalidInput(f"driver name {name!r} must begin with a letter: it is also the vendor of its CDI devices")
    return name


def check_source(name: str) -> str:
    """An auxiliary source's name: a part of socket names, and of what `get drivers` shows."""
    if not _UID.fullmatch(name):
        raise InvalidInput(f"source name {name!r} is not one: letters, digits and hyphens, 63 at most")
    return name


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where a driver listens: `registration` in the kubelet's plugins_registry, `endpoint` (DRA and health) in the sibling plugins/."""

    registration: Path
    endpoint: Path


def sockets(driver: str, settings: Settings) -> Sockets:
    """As upstream's drivers name them (CONTRACT §1); hashed where the path would be longer than a Unix socket's may be.

    Blocks. Raises InvalidInput where even that is too long."""
    registry = Path(os.path.abspath(settings.plugin_dir))
    uid = f"-{settings.pod_uid}" if settings.pod_uid else ""
    short = hashlib.sha256(f"{driver}{uid}".encode()).hexdigest()[:16]
    registration, endpoint = registry / f"{driver}{uid}-reg.sock", registry.parent / "plugins" / driver / f"dra{uid}.sock"
    if len(os.fsencode(registration)) > LONGEST_PATH:
        registration = registry / f"{short}-reg.sock"
    if len(os.fsencode(endpoint)) > LONGEST_PATH:
        endpoint = registry.parent / "plugins" / short / "dra.sock"
    return Sockets(check_path(registration), check_path(endpoint))


def make_directories(settings: Settings, where: Sockets) -> None:
    """Sees to it that sockets and CDI files can be made. Blocks. Raises LocalError that says what to do."""
    registry, plugins, cdi = (settings.plugin_dir, "--plugin-dir"), (where.endpoint.parent, "--plugin-dir"), (settings.cdi_dir, "--cdi-dir")
    if not os.path.isdir(settings.plugin_dir):
        wrong = "is not a directory" if os.path.exists(settings.plugin_dir) else "does not exist"
        raise LocalError(
            f"plugin directory {settings.plugin_dir} {wrong}: on a node it is the kubelet's plugins_registry; see --plugin-dir"
        )
    for directory, flag in (plugins, cdi):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"cannot make directory {directory}: {error.strerror}: run as root, or give another {flag}") from None
    for directory, flag in (registry, plugins, cdi):
        if not os.access(directory, os.W_OK | os.X_OK):
            raise LocalError(f"directory {directory} is not writable: run as root, or give another {flag}")
