"""A real Kubernetes on loopback: etcd, kube-apiserver, controller manager, scheduler, one kubelet (node1), a stand-in runtime.

Everything lives in one short directory. What it took to run them so is CONTRACT §6; the reasons stand beside the flags.
"""

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.build import DEFAULT_VERSION, build, link
from tests.cluster.processes import MARK, end

NODE = "node1"
START_LIMIT = 90.0
"""Seconds within which a component must answer; 4 s are usual for the whole."""
GATES = {"1.34": "ResourceHealthStatus=true", "1.35": "ResourceHealthStatus=true"}
"""Feature gates the releases before 1.36 need (CONTRACT §6)."""


class ClusterFailed(Exception):
    """A component did not come up; the message holds the end of its log."""


@dataclass
class Cluster:
    """One cluster. `up()` before everything else; `down()` leaves no process, mount or file behind."""

    version: str = DEFAULT_VERSION
    root: Path = field(init=False)

    def up(self) -> "Cluster":
        binary = build(self.version)
        # Short: a Unix socket's path has 107 bytes, and drivers put theirs below.
        self.root = Path(tempfile.mkdtemp(prefix="pv-k8s-"))
        self._guard = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("processes.py")), str(self.root)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._ports = dict(zip(("api", "etcd", "peer", "kubelet"), _free_ports(4), strict=True))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._prepare(binary)
            self._start_all()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        end(self.root)
        for process in self._processes.values():
            process.wait()
        # The guard sweeps once more, and removes the directory.
        self._guard.communicate()

    # ── Where things are ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def kubelet_dir(self) -> Path:
        """The kubelet's root: it holds plugins_registry/ and plugins/."""
        return self.root / "kubelet"

    @property
    def plugin_dir(self) -> Path:
        """Where drivers register."""
        return self.kubelet_dir / "plugins_registry"

    @property
    def cdi_dir(self) -> Path:
        return self.root / "cdi"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._ports['api']}"

    @property
    def kubelet_url(self) -> str:
        """Its metrics are for everybody here."""
        return f"https://127.0.0.1:{self._ports['kubelet']}"

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator (system:masters)."""
        return self.root / "admin.kubeconfig"

    @property
    def kubectl(self) -> Path:
        return self.root / "bin" / "kubectl"

    def log(self, component: str) -> Path:
        return self.root / "logs" / f"{component}.log"

    @property
    def environment(self) -> dict[str, str]:
        """For whatever belongs to this cluster, drivers and agents too: who carries it is ended with the cluster."""
        return {**os.environ, MARK: str(self.root), "KUBECONFIG": str(self.kubeconfig)}

    # ── Components ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, component: str) -> None:
        with self.log(component).open("ab") as log:
            self._processes[component] = subprocess.Popen(
                [str(self.root / "bin" / component), *self._flags(component)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root / "cwd",  # a kubelet cleans up relative paths, and would do it in ours
                env=self.environment,
                start_new_session=True,
            )

    def stop(self, component: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        process = self._processes.pop(component)
        process.send_signal(with_signal)
        process.wait(30)

    def restart_kubelet(self) -> None:
        """As an upgrade or a crash does; returns once the new one answers."""
        self.stop("kubelet", signal.SIGKILL)
        self.start_kubelet()

    def start_kubelet(self) -> None:
        """Returns once it answers."""
        self.start("kubelet")
        self._wait("kubelet", self._kubelet_answers)

    def signal(self, component: str, number: signal.Signals) -> None:
        self._processes[component].send_signal(number)

    # ── Access ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """As the administrator, over a plain blocking connection: for setting up and for looking, independent of what is tested."""
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self._tokens['admin']}", "Content-Type": "application/json", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10, context=self._tls()) as response:
            data = response.read()
        return json.loads(data) if data.startswith(b"{") else data.decode()

    def run_kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(self.kubectl), *arguments], input=stdin, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise ClusterFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """What a pod with that service account could do on this node, and no more: a genuine token of the account's, bound to the node."""
        spec = {"expirationSeconds": 7200, "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": NODE}}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", request)
        return self._write_kubeconfig(f"{namespace}-{name}", answer["status"]["token"])

    # ── How they are set up ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self, binary: Path) -> None:
        for name in ("certs", "cwd", "kubelet", "logs", "cdi", "podlogs"):
            (self.root / name).mkdir()
        link(binary, self.root / "bin")
        subprocess.run(["openssl", "genrsa", "-out", str(self.root / "certs/sa.key"), "2048"], check=True, capture_output=True)
        self._tokens = {name: secrets.token_hex(16) for name in ("admin", "kubelet")}
        (self.root / "tokens.csv").write_text(
            f"{self._tokens['admin']},admin,admin,system:masters\n{self._tokens['kubelet']},system:node:{NODE},{NODE},system:nodes\n"
        )
        for name, token in self._tokens.items():
            self._write_kubeconfig(name, token)
        # One key a line, each value JSON: a kubelet takes a file that begins with `{` for JSON, and then refuses YAML's comments in it.
        settings = "\n".join(f"{key}: {json.dumps(value)}" for key, value in self._kubelet_settings().items())
        (self.root / "kubelet.yaml").write_text(settings + "\n")

    def _kubelet_settings(self) -> dict[str, Any]:
        runtime = f"unix://{self.root}/cri.sock"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            # What a container or a virtual machine lacks: cgroup v2 of its own, swap off, free disk.
            "failCgroupV1": False,
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "makeIPTablesUtilChains": False,
            "containerRuntimeEndpoint": runtime,
            "imageServiceEndpoint": runtime,
            "address": "127.0.0.1",
            "port": self._ports["kubelet"],
            "readOnlyPort": 0,
            "healthzPort": 0,
            "resolvConf": "",
            "clusterDNS": ["127.0.0.1"],
            "podLogsDir": str(self.root / "podlogs"),
            "maxPods": 250,
            "registryPullQPS": 0,  # there is no registry to be gentle with
            "nodeStatusUpdateFrequency": "5s",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
        }

    def _flags(self, component: str) -> Sequence[str]:
        root = self.root
        etcd, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        feature_gates = GATES.get(".".join(self.version.split(".")[:2]))
        gates = ["--feature-gates", feature_gates] if feature_gates else []
        sa_key = f"{root}/certs/sa.key"
        as_admin = ["--kubeconfig", str(self.kubeconfig), "--secure-port", "0", "--leader-elect=false", *gates]
        match component:
            case "etcd":
                listen = ["--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer]
                cluster = ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync"]
                return ["--data-dir", f"{root}/etcd", *listen, *cluster]
            case "kube-apiserver":
                listen = ["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", str(self._ports["api"])]
                keys = ["--service-account-key-file", sa_key, "--service-account-signing-key-file", sa_key]
                keys += ["--service-account-issuer", "https://localhost", "--cert-dir", f"{root}/certs"]
                who = ["--token-auth-file", f"{root}/tokens.csv", "--authorization-mode", "Node,RBAC"]
                # No token in every pod: its volume would be a mount, and nothing in a container asks for it.
                admission = ["--enable-admission-plugins", "NodeRestriction", "--disable-admission-plugins", "ServiceAccount"]
                network = ["--service-cluster-ip-range", "10.96.0.0/24", "--endpoint-reconciler-type=none"]
                return ["--etcd-servers", etcd, *listen, *keys, *who, *admission, *network, *gates]
            case "kube-controller-manager":
                return [*as_admin, "--service-account-private-key-file", sa_key]
            case "kube-scheduler":
                return as_admin
            case "runtime":
                return ["--socket", f"{root}/cri.sock", "--cdi-dir", str(self.cdi_dir)]
            case "kubelet":
                where = ["--root-dir", f"{root}/kubelet", "--cert-dir", f"{root}/kubelet/pki", "--hostname-override", NODE]
                return ["--config", f"{root}/kubelet.yaml", "--kubeconfig", f"{root}/kubelet.kubeconfig", *where, "--v", "2", *gates]
        raise ClusterFailed(f"no component {component}")

    def _start_all(self) -> None:
        for component in ("etcd", "kube-apiserver"):
            self.start(component)
        self._wait("kube-apiserver", lambda: self.request("GET", "/readyz") == "ok")
        self._let_the_node_read_claims()
        for component in ("kube-controller-manager", "kube-scheduler", "runtime"):
            self.start(component)
        self._wait("runtime", (self.root / "cri.sock").is_socket)
        self.start("kubelet")
        self._wait("kubelet", self._node_ready)
        self._wait("kube-controller-manager", lambda: self.request("GET", "/api/v1/namespaces/default/serviceaccounts/default"))

    def _let_the_node_read_claims(self) -> None:
        """The node authorizer learns which pods a node has by a watch of its own, now and then later than the kubelet does. A prepare that
        fails for that is retried only 60 to 90 s later."""
        rules = [{"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get"]}]
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"system:node:{NODE}"}]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "node-claims"}
        path = "/apis/rbac.authorization.k8s.io/v1"
        self.request("POST", f"{path}/clusterroles", {"metadata": {"name": "node-claims"}, "rules": rules})
        binding = {"metadata": {"name": "node-claims"}, "roleRef": role, "subjects": subjects}
        self.request("POST", f"{path}/clusterrolebindings", binding)

    def _node_ready(self) -> bool:
        node = self.request("GET", f"/api/v1/nodes/{NODE}")
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", ()))
        return ready and not node["spec"].get("taints")

    def _kubelet_answers(self) -> bool:
        with urllib.request.urlopen(f"{self.kubelet_url}/healthz", timeout=2, context=ssl._create_unverified_context()) as response:
            return bool(response.status == 200)

    def _wait(self, component: str, there: Callable[[], Any]) -> None:
        """Asks again and again: there is nothing to watch before an API server answers."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            try:
                if there():
                    return
            except OSError:  # refused, or an HTTP error
                pass
            if self._processes[component].poll() is not None:
                break
            time.sleep(0.05)
        raise ClusterFailed(f"{component} did not come up; its log ends:\n{tail(self.log(component))}")

    def _write_kubeconfig(self, name: str, token: str) -> Path:
        path = self.root / f"{name}.kubeconfig"
        cluster = {"server": self.server, "certificate-authority": str(self.root / "certs/apiserver.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": name}}],
            "users": [{"name": name, "user": {"token": token}}],
        }
        path.write_text(json.dumps(document, indent=1))
        path.chmod(0o600)
        return path

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root / "certs/apiserver.crt"))


def tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(line[:400] for line in path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":  # python -m tests.cluster.cluster [VERSION]: one to try things on, until Ctrl-C
    mine = Cluster(*sys.argv[1:2]).up()
    print(f"export KUBECONFIG={mine.kubeconfig} PATH={mine.root}/bin:$PATH   # plugin directory: {mine.plugin_dir}", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        mine.down()
