"""Where the API server is and what proves who we are: values, however they were found (`locate`)."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from podvitals.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Secret:
    """What proves who we are: a bearer token, a client certificate with its key (PEM), or nothing."""

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token somebody else renews on disk (a service account's); re-read each minute."""

    path: Path
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A command that prints an ExecCredential (client.authentication.k8s.io); asked again when what it gave expires."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    cluster_info: dict[str, object] | None = field(default=None, repr=False)
    """What the plugin is told of the cluster (`provideClusterInfo`)."""
    timeout: float = 20.0
    """Seconds. Less than a call has (`Client`), or a plugin that hangs would be told as an API that does not answer."""


Credentials = Secret | TokenFile | ExecPlugin


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """`server` may have a path, which is kept as a prefix; it can be a secret (the lab's), so it is never shown: `address` is."""

    server: str = field(repr=False)
    credentials: Credentials = Secret()
    ca: bytes = field(default=b"", repr=False)
    """PEM; empty: the system's authorities."""
    insecure: bool = False
    """Accept any certificate."""
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    namespace: str = "default"
    source: str = ""
    """Where this came from, for messages: `/home/me/.kube/config, context lab`."""
    address: str = field(init=False, default="")
    """The server without its path: safe to print."""

    def __post_init__(self) -> None:
        where = f" ({self.source})" if self.source else ""
        try:
            parts = urlsplit(self.server)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise InvalidInput(f"the server of the Kubernetes API must be a URL such as https://host:6443{where}")
        shown = f"[{host}]" if ":" in host else host
        object.__setattr__(self, "address", f"{parts.scheme}://{shown}" + (f":{port}" if port else ""))
