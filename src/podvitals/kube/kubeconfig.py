"""Kubeconfig files: merged as kubectl merges them, and each mistake told with the file and the field it is in."""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from podvitals.errors import InvalidInput, LocalError
from podvitals.kube.config import ClusterConfig, Credentials, ExecPlugin, Secret, TokenFile

_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class _Entry:
    """A named cluster, user or context with the file that relative paths in it are relative to."""

    def __init__(self, body: dict[str, Any], file: Path, what: str) -> None:
        self.body, self.file, self.what = body, file, what

    def text(self, key: str) -> str:
        value = self.body.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(f"kubeconfig {self.file}: {self.what}: {key} must be a string")
        return value

    def path(self, key: str) -> Path | None:
        value = self.text(key)
        return self.file.parent / value if value else None

    def pem(self, key: str) -> bytes:
        """`key-data` (base64) wins over the file named by `key`, as in kubectl."""
        if data := self.text(f"{key}-data"):
            try:
                return base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise InvalidInput(f"kubeconfig {self.file}: {self.what}: {key}-data is not base64") from None
        path = self.path(key)
        return b"" if path is None else _read(path, f"kubeconfig {self.file}: {self.what}: {key}")


def read_kubeconfig(files: Sequence[Path], context: str | None, *, explicit: bool) -> ClusterConfig:
    """`explicit`: each file was asked for by name and must exist; otherwise ($KUBECONFIG) one of them must."""
    merged = _Merged()
    present = [file for file in files if explicit or file.exists()]
    if not present:
        raise InvalidInput(f"kubeconfig {', '.join(map(str, files))} does not exist (KUBECONFIG names it)")
    for file in present:
        merged.add(file)
    return merged.config(context)


class _Merged:
    """Several files as one: the first to name a cluster, user, context or the current context wins."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.current = ""
        self.entries: dict[str, dict[str, _Entry]] = {"cluster": {}, "user": {}, "context": {}}

    def add(self, file: Path) -> None:
        document = _document(file)
        self.files.append(file)
        current = document.get("current-context")
        self.current = self.current or (current if isinstance(current, str) else "")
        for kind, known in self.entries.items():
            items = document.get(f"{kind}s") or []
            if not isinstance(items, list):
                raise InvalidInput(f"kubeconfig {file}: {kind}s must be a list")
            for item in items:
                name = item.get("name") if isinstance(item, dict) else None
                body = (item.get(kind) or {}) if isinstance(item, dict) else None
                if not isinstance(name, str) or not isinstance(body, dict):
                    raise InvalidInput(f"kubeconfig {file}: each of {kind}s needs a name and a {kind}")
                known.setdefault(name, _Entry(body, file, f"{kind} {name!r}"))

    def config(self, context: str | None) -> ClusterConfig:
        shown = ", ".join(map(str, self.files))
        wanted = context or self.current
        if not wanted:
            raise InvalidInput(f"kubeconfig {shown} has no current-context: choose one with --context{self._contexts()}")
        if wanted not in self.entries["context"]:
            raise InvalidInput(f"kubeconfig {shown} has no context {wanted!r}{self._contexts()}")
        chosen = self.entries["context"][wanted]
        cluster = self._named("cluster", chosen, wanted)
        user = self._named("user", chosen, wanted) if chosen.text("user") else _Entry({}, chosen.file, "user")
        assert cluster is not None
        insecure = cluster.body.get("insecure-skip-tls-verify") is True
        return ClusterConfig(
            server=cluster.text("server"),
            credentials=_credentials(user, cluster),
            ca=b"" if insecure else cluster.pem("certificate-authority"),
            insecure=insecure,
            tls_server_name=cluster.text("tls-server-name"),
            proxy=cluster.text("proxy-url"),
            namespace=chosen.text("namespace") or "default",
            source=f"kubeconfig {chosen.file}, context {wanted}",
        )

    def _contexts(self) -> str:
        names = sorted(self.entries["context"])
        return f"; it has: {', '.join(names)}" if names else "; it has none"

    def _named(self, kind: str, chosen: _Entry, context: str) -> _Entry:
        name = chosen.text(kind)
        if not name:
            raise InvalidInput(f"kubeconfig {chosen.file}: context {context!r} names no {kind}")
        if name not in self.entries[kind]:
            raise InvalidInput(f"kubeconfig {chosen.file}: context {context!r} names {kind} {name!r}, which does not exist")
        return self.entries[kind][name]


def _credentials(user: _Entry, cluster: _Entry) -> Credentials:
    """In kubectl's order: a client certificate joins a token; a token, then tokenFile, come before a plugin."""
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise InvalidInput(f"kubeconfig {user.file}: {user.what} has no {missing}: a client certificate and its key come together")
    token_file = user.path("tokenFile")
    if token_file is not None:  # kubectl prefers the file to `token`, since it can be renewed
        _read(token_file, f"kubeconfig {user.file}: {user.what}: tokenFile")
        return TokenFile(token_file, certificate, key)
    if token := user.text("token"):
        return Secret(token, certificate, key)
    if (plugin := user.body.get("exec")) is not None:
        return _exec(user, plugin, cluster)
    if user.body.get("auth-provider") is not None or user.text("username"):
        raise InvalidInput(
            f"kubeconfig {user.file}: {user.what} uses auth-provider or a password, which Kubernetes dropped: use a token or exec plugin"
        )
    return Secret("", certificate, key)


def _exec(user: _Entry, plugin: object, cluster: _Entry) -> ExecPlugin:
    where = f"kubeconfig {user.file}: {user.what}: exec"
    if not isinstance(plugin, dict):
        raise InvalidInput(f"{where} must be an object")
    command, version = plugin.get("command"), plugin.get("apiVersion")
    if not isinstance(command, str) or not command:
        raise InvalidInput(f"{where} has no command")
    if version not in _EXEC_VERSIONS:
        raise InvalidInput(f"{where}: apiVersion {version!r} is not one of {' and '.join(_EXEC_VERSIONS)}")
    args, env = plugin.get("args") or [], plugin.get("env") or []
    if not isinstance(args, list) or not isinstance(env, list) or not all(isinstance(pair, dict) and "name" in pair for pair in env):
        raise InvalidInput(f"{where}: args must be a list, and env a list of name and value")
    # A command with a slash is relative to the kubeconfig; a bare name is looked up in PATH.
    resolved = str(user.file.parent / command) if "/" in command else command
    return ExecPlugin(
        command=resolved,
        args=tuple(str(arg) for arg in args),
        env=tuple((str(pair["name"]), str(pair.get("value") or "")) for pair in env),
        api_version=version,
        install_hint=str(plugin.get("installHint") or ""),
        cluster_info=_cluster_info(cluster) if plugin.get("provideClusterInfo") is True else None,
    )


def _cluster_info(cluster: _Entry) -> dict[str, object]:
    info: dict[str, object] = {"server": cluster.text("server")}
    if name := cluster.text("tls-server-name"):
        info["tls-server-name"] = name
    if cluster.body.get("insecure-skip-tls-verify") is True:
        info["insecure-skip-tls-verify"] = True
    elif ca := cluster.pem("certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(ca).decode()
    return info


def _document(file: Path) -> dict[str, Any]:
    data = _read(file, "kubeconfig")
    try:
        document = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        # Not the parser's own text: it quotes the line, which may hold a token.
        raise InvalidInput(f"kubeconfig {file} is not YAML{where}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict) or document.get("kind") not in (None, "Config"):
        raise InvalidInput(f"{file} is not a kubeconfig: it must be an object of kind Config")
    return document


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{what}: {path} does not exist") from None
    except OSError as error:
        raise LocalError(f"{what}: cannot read {path}: {error.strerror}") from None
