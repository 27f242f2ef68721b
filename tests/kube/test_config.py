"""Kubeconfig: what kubectl accepts is accepted, and each mistake is told with its file and what would be right."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from podvitals.errors import InvalidInput, LocalError, PodvitalsError
from podvitals.kube.config import ClusterConfig, ExecPlugin, Secret, TokenFile
from podvitals.kube.kubeconfig import read_kubeconfig
from podvitals.kube.locate import in_cluster, load_config

CERTS = Path(__file__).parent / "certs"


@pytest.fixture(autouse=True)
def _nobody_s_own_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


def kubeconfig(name: str = "c", *, user: Any = None, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig of one context, cluster and user, all named alike."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "ml"}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443"} | cluster}],
        "users": [{"name": name, "user": {"token": "s3cret-token"} if user is None else user}],
    }


def write(path: Path, body: object) -> Path:
    path.write_text(body if isinstance(body, str) else yaml.safe_dump(body))
    return path


def test_an_explicit_file_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "k", kubeconfig())
    got = load_config(file)
    assert (got.server, got.credentials, got.namespace) == ("https://c.example:6443", Secret("s3cret-token"), "ml")
    assert got.source == f"kubeconfig {file}, context c"


def test_the_list_in_kubeconfig_is_merged_and_the_first_to_say_something_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = kubeconfig("one"), kubeconfig("two")
    two["clusters"].append({"name": "one", "cluster": {"server": "https://late.example"}})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}::{write(tmp_path / 'a', one)}:{write(tmp_path / 'b', two)}")
    assert load_config().server == "https://one.example:6443"
    assert load_config(context="two").server == "https://two.example:6443"


def test_a_context_may_join_a_cluster_and_a_user_of_different_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = kubeconfig("c"), kubeconfig("c")
    del first["users"]
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "token", "from-file\n")
    second["users"] = [{"name": "c", "user": {"tokenFile": "token"}}]
    monkeypatch.setenv("KUBECONFIG", f"{write(tmp_path / 'a', first)}:{write(tmp_path / 'sub' / 'b', second)}")
    assert load_config().credentials == TokenFile(tmp_path / "sub" / "token"), "paths are relative to the file they stand in"


def test_without_anything_else_it_is_the_file_in_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    write(tmp_path / "home" / ".kube" / "config", kubeconfig("mine"))
    assert load_config().server == "https://mine.example:6443"


def test_in_a_pod_it_is_the_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("ca.crt", "PEM"), ("token", "t"), ("namespace", "podvitals\n")):
        write(tmp_path / name, text)
    with pytest.raises(InvalidInput, match="KUBERNETES_SERVICE_HOST is not set"):
        in_cluster(tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    got = in_cluster(tmp_path)
    assert (got.server, got.credentials, got.ca, got.namespace) == (
        "https://[fd00::1]:443",
        TokenFile(tmp_path / "token"),
        b"PEM",
        "podvitals",
    )
    (tmp_path / "token").unlink()
    with pytest.raises(LocalError, match="does the pod mount a service account token"):
        in_cluster(tmp_path)


def test_a_certificate_comes_from_a_file_or_from_the_kubeconfig_itself(tmp_path: Path) -> None:
    pair = {"client-certificate": str(CERTS / "client.crt"), "client-key": str(CERTS / "client.key")}
    files = read_kubeconfig([write(tmp_path / "a", kubeconfig(user=pair))], None, explicit=True)
    encoded = {f"{name}-data": base64.b64encode(Path(path).read_bytes()).decode() for name, path in pair.items()}
    inline = read_kubeconfig([write(tmp_path / "b", kubeconfig(user=encoded))], None, explicit=True)
    want = Secret("", (CERTS / "client.crt").read_bytes(), (CERTS / "client.key").read_bytes())
    assert files.credentials == inline.credentials == want


def test_tls_settings_of_the_cluster_are_kept(tmp_path: Path) -> None:
    more: dict[str, Any] = {"certificate-authority": str(CERTS / "ca.crt"), "tls-server-name": "kubernetes.default"}
    got = load_config(write(tmp_path / "a", kubeconfig(**more)))
    assert (got.ca, got.tls_server_name, got.insecure) == ((CERTS / "ca.crt").read_bytes(), "kubernetes.default", False)
    bare = load_config(write(tmp_path / "b", kubeconfig(**INSECURE)))
    assert (bare.ca, bare.insecure) == (b"", True)


def test_an_exec_plugin_is_read_with_its_environment(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "./login",
        "args": ["--cluster", 7],
        "env": [{"name": "A", "value": "b"}],
        "provideClusterInfo": True,
        "installHint": "install login",
    }
    got = load_config(write(tmp_path / "k", kubeconfig(user={"exec": plugin}))).credentials
    assert isinstance(got, ExecPlugin)
    assert (got.command, got.args, got.env) == (str(tmp_path / "login"), ("--cluster", "7"), (("A", "b"),))
    assert (got.api_version, got.install_hint) == ("client.authentication.k8s.io/v1beta1", "install login")
    assert got.cluster_info == {"server": "https://c.example:6443"}


def test_a_context_without_a_user_has_no_credentials(tmp_path: Path) -> None:
    body = kubeconfig()
    del body["contexts"][0]["context"]["user"]
    assert load_config(write(tmp_path / "k", body)).credentials == Secret()


def test_no_secret_is_shown_by_any_repr(tmp_path: Path) -> None:
    got = ClusterConfig("http://127.0.0.1:1/s3cret-prefix", Secret("s3cret", b"s3cret", b"s3cret"), proxy="http://u:s3cret@p")
    plugin = ExecPlugin("login", ("--password=s3cret",), (("PASSWORD", "s3cret"),))
    assert "s3cret" not in f"{got!r}{plugin!r}{TokenFile(Path('/t'), b'', b's3cret')!r}"
    assert got.address == "http://127.0.0.1:1"


def with_context(**context: object) -> dict[str, Any]:
    return kubeconfig() | {"contexts": [{"name": "c", "context": context}]}


CA_FILE: dict[str, Any] = {"certificate-authority": "/nowhere/ca"}
CA_DATA: dict[str, Any] = {"certificate-authority-data": "???"}
INSECURE: dict[str, Any] = {"insecure-skip-tls-verify": True}
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "login"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("a: b: c", "kubeconfig {file} is not YAML, line 1"),
        ("clusters:\n- token: s3cret: x", "kubeconfig {file} is not YAML, line 2"),
        ("just text", "{file} is not a kubeconfig: it must be an object of kind Config"),
        ({"kind": "Pod"}, "{file} is not a kubeconfig: it must be an object of kind Config"),
        ({}, "kubeconfig {file} has no current-context: choose one with --context; it has none"),
        (kubeconfig() | {"current-context": ""}, "kubeconfig {file} has no current-context: choose one with --context; it has: c"),
        (kubeconfig() | {"current-context": "x"}, "kubeconfig {file} has no context 'x'; it has: c"),
        (kubeconfig() | {"contexts": "c"}, "kubeconfig {file}: contexts must be a list"),
        (kubeconfig() | {"users": [{"user": {}}]}, "kubeconfig {file}: each of users needs a name and a user"),
        (with_context(user="c"), "kubeconfig {file}: context 'c' names no cluster"),
        (with_context(cluster="x"), "kubeconfig {file}: context 'c' names cluster 'x', which does not exist"),
        (with_context(cluster="c", user="x"), "kubeconfig {file}: context 'c' names user 'x', which does not exist"),
        (
            kubeconfig(server="c.example"),
            "the server of the Kubernetes API must be a URL such as https://host:6443 (kubeconfig {file}, context c)",
        ),
        (kubeconfig(server=7), "kubeconfig {file}: cluster 'c': server must be a string"),
        (
            kubeconfig(**CA_FILE),
            "kubeconfig {file}: cluster 'c': certificate-authority: /nowhere/ca does not exist",
        ),
        (kubeconfig(**CA_DATA), "kubeconfig {file}: cluster 'c': certificate-authority-data is not base64"),
        (
            kubeconfig(user={"client-certificate": "/nowhere/c"}),
            "kubeconfig {file}: user 'c': client-certificate: /nowhere/c does not exist",
        ),
        (
            kubeconfig(user={"client-certificate-data": "eA=="}),
            "kubeconfig {file}: user 'c' has no client-key: a client certificate and its key come together",
        ),
        (kubeconfig(user={"tokenFile": "/nowhere/t"}), "kubeconfig {file}: user 'c': tokenFile: /nowhere/t does not exist"),
        (
            kubeconfig(user={"username": "u", "password": "s3cret"}),
            "kubeconfig {file}: user 'c' uses auth-provider or a password, which Kubernetes dropped: use a token or exec plugin",
        ),
        (kubeconfig(user={"exec": "login"}), "kubeconfig {file}: user 'c': exec must be an object"),
        (kubeconfig(user={"exec": EXEC | {"command": ""}}), "kubeconfig {file}: user 'c': exec has no command"),
        (
            kubeconfig(user={"exec": EXEC | {"apiVersion": "client.authentication.k8s.io/v1alpha1"}}),
            (
                "kubeconfig {file}: user 'c': exec: apiVersion 'client.authentication.k8s.io/v1alpha1' is not one of "
                "client.authentication.k8s.io/v1 and client.authentication.k8s.io/v1beta1"
            ),
        ),
        (
            kubeconfig(user={"exec": EXEC | {"env": ["A=b"]}}),
            "kubeconfig {file}: user 'c': exec: args must be a list, and env a list of name and value",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_never_with_a_secret(tmp_path: Path, body: object, told: str) -> None:
    file = write(tmp_path / "k", body)
    with pytest.raises(InvalidInput) as caught:
        load_config(file)
    assert str(caught.value) == told.format(file=file)
    assert "s3cret" not in str(caught.value)


def test_a_context_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no context 'prod'; it has: c"):
        load_config(write(tmp_path / "k", kubeconfig()), "prod")


def test_a_kubeconfig_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"kubeconfig: .*/missing does not exist"):
        load_config(tmp_path / "missing")
    with pytest.raises(InvalidInput, match=r"no kubeconfig: .*/home/.kube/config does not exist and KUBECONFIG is not set"):
        load_config()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(InvalidInput, match=r"/missing does not exist \(KUBECONFIG names it\)"):
        load_config()


def test_a_kubeconfig_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=f"kubeconfig: cannot read {tmp_path}: Is a directory"):
        load_config(tmp_path)
    file = write(tmp_path / "k", kubeconfig())
    file.chmod(0)
    if os.geteuid() != 0:  # root reads everything; the directory above stands for it then
        with pytest.raises(LocalError, match="Permission denied"):
            load_config(file)


@pytest.mark.parametrize("server", ["", "https://", "ftp://x", "https://x:port", "https://x?a=b", "https://[::1"])
def test_a_server_that_is_no_url_is_refused_without_repeating_it(server: str) -> None:
    with pytest.raises(PodvitalsError, match="must be a URL such as https://host:6443"):
        ClusterConfig(server)


def test_in_a_pod_no_yaml_is_loaded(tmp_path: Path) -> None:
    """It would be a megabyte and 11 ms of each agent."""
    script = (
        "import sys; from podvitals.kube import locate; from podvitals.errors import LocalError\n"
        "try: locate.load_config()\nexcept LocalError: pass\nassert 'yaml' not in sys.modules"
    )
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)
