"""Finds the API server as kubectl does: a kubeconfig, or the service account of the pod we run in.

`load_config` reads files: call it before the event loop runs, or in a thread.
"""

import os
from pathlib import Path

from podvitals.errors import InvalidInput, LocalError
from podvitals.kube.config import ClusterConfig, TokenFile

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def load_config(kubeconfig: Path | None = None, context: str | None = None) -> ClusterConfig:
    """The explicit file; else $KUBECONFIG (a list of files, merged); else ~/.kube/config; else the service account of the pod we run in."""
    files, explicit = _files(kubeconfig)
    if files:
        # Only where there is a file: an agent in its pod needs no YAML.
        from podvitals.kube.kubeconfig import read_kubeconfig

        return read_kubeconfig(files, context, explicit=explicit)
    if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    raise InvalidInput(
        f"no kubeconfig: {_home()} does not exist and KUBECONFIG is not set. Name one with --kubeconfig; `podvitals lab` prints the lab's"
    )


def _files(kubeconfig: Path | None) -> tuple[list[Path], bool]:
    """And whether each of them must exist."""
    if kubeconfig is not None:
        return [Path(kubeconfig)], True
    if named := [Path(name) for name in os.environ.get("KUBECONFIG", "").split(":") if name]:
        return named, False
    return [_home()] if _home().exists() else [], True


def _home() -> Path:
    return Path.home() / ".kube" / "config"


def in_cluster(directory: Path = SERVICE_ACCOUNT) -> ClusterConfig:
    """The service account Kubernetes mounts into a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InvalidInput("this is not a pod of a cluster: KUBERNETES_SERVICE_HOST is not set")
    try:
        ca = (directory / "ca.crt").read_bytes()
        (directory / "token").read_bytes()
        namespace = (directory / "namespace").read_text().strip() if (directory / "namespace").exists() else "default"
    except OSError as error:
        raise LocalError(
            f"cannot read the service account's files: {error.filename}: {error.strerror}; does the pod mount a service account token?"
        ) from None
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return ClusterConfig(server, TokenFile(directory / "token"), ca, namespace=namespace, source="service account of this pod")
