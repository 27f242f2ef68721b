"""A clumsy user at the command line: words that are none, output nobody takes, files that belong to others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from podvitals.device.text import LONGEST_MESSAGE
from tests.kube.fake import fake_api, pod
from tests.wrong_input.process import kubeconfig, on_screen, podvitals


@pytest.mark.parametrize("arguments", [(), ("describe",)])
async def test_a_command_without_its_verb_gets_the_page_of_help(arguments: tuple[str, ...]) -> None:
    outcome = await podvitals(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: podvitals")
    assert outcome.err.endswith("\n")
    assert "--help)" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("completion",), "Missing argument '{bash|zsh}'. Choose from: bash, zsh (podvitals completion --help)"),
        (("get", "devices", "-l", "a=b"), "-l chooses pods; for devices give names, or --unhealthy (podvitals get --help)"),
        (("agent", "--node-name", "Bad Node"), "node name 'Bad Node' is no name of a node: --node-name is the Node object's name"),
        (("inject", "gpu-0", ""), 'say what the device shall be, such as "Unhealthy: Xid 79", or --clear, not both'),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    assert (await podvitals(*arguments)).sentence(2) == says


@pytest.mark.parametrize("name", ["", "/", "default/", ".."])
async def test_a_name_that_is_none_asks_for_no_other_object(tmp_path: Path, name: str) -> None:
    async with fake_api() as api:
        said = (await podvitals("describe", "pod", name, KUBECONFIG=kubeconfig(tmp_path / "k", api.config().server))).sentence(2)
        assert api.requests == []
    assert said in ("the name of pods is empty: say which one is meant", "'..' is not a name of a Kubernetes object")


async def test_nothing_found_says_where_it_was_looked_for(tmp_path: Path) -> None:
    async with fake_api() as api:
        outcome = await podvitals("get", "pods", "-l", "a=b", KUBECONFIG=kubeconfig(tmp_path / "k", api.config().server))
    assert outcome.out == "No pods with labels a=b in namespace default (-A: all namespaces).\n"


async def test_a_long_message_pushes_no_column_off_the_screen_and_is_whole_on_demand(tmp_path: Path) -> None:
    body = pod("a", 1)
    body["status"]["containerStatuses"] = [
        {
            "name": "c",
            "image": "x",
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "allocatedResourcesStatus": [
                {"name": "claim:g", "resources": [{"resourceID": "d/g", "health": "Unhealthy", "message": "so long a message " * 50}]}
            ],
        }
    ]
    body["spec"] = {"containers": [], "resourceClaims": [{"name": "g", "resourceClaimName": "g"}]}
    async with fake_api() as api:
        api.put(body)
        config = kubeconfig(tmp_path / "k", api.config().server)
        screen = await on_screen(140, "get", "pods", KUBECONFIG=config)
        piped, wide = await podvitals("get", "pods", KUBECONFIG=config), await podvitals("get", "pods", "-o", "wide", KUBECONFIG=config)
    assert "so long a message so long" in screen
    assert max(map(len, screen.splitlines())) <= 140
    assert max(map(len, wide.out.splitlines())) > 900
    assert max(map(len, piped.out.splitlines())) > 900, "a program gets everything"


async def test_a_pod_whose_claim_nobody_can_satisfy_says_what_it_waits_for(tmp_path: Path) -> None:
    body = pod("a", 1, phase="Pending")
    body["spec"] = {"containers": [], "resourceClaims": [{"name": "g", "resourceClaimName": "g"}]}
    why = 'request "g" of claim "g" names device class "nope", which does not exist.'
    body["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]
    async with fake_api() as api:
        api.put(body)
        outcome = await podvitals("describe", "pod", "ml/a", KUBECONFIG=kubeconfig(tmp_path / "k", api.config().server))
    assert f'It waits for a node, and so for its devices (claim "g"): {why}' in " ".join(outcome.out.split())


async def test_a_directory_of_devices_one_may_not_read_is_this_machines_fault(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "sim").mkdir(parents=True)
    closed.chmod(0)
    try:
        said = (await podvitals("inject", "gpu-0", "--clear", "--dir", closed / "sim")).sentence(3)
    finally:
        closed.chmod(0o700)
    assert said == f"cannot read {closed / 'sim'}: Permission denied; it belongs to who runs the driver"


async def test_an_injected_message_is_said_as_it_will_be_told(tmp_path: Path) -> None:
    (tmp_path / "gpu-0").write_text("Healthy\n")
    outcome = await podvitals("inject", "gpu-0", "Unhealthy: " + "x" * 10_000 + "\x1b[31m", "--dir", tmp_path)
    assert outcome.code == 0
    assert len(outcome.out.encode()) < LONGEST_MESSAGE + 60


def run(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" -m podvitals "$@" {redirection}'
    return subprocess.run(["sh", "-c", line, sys.executable, *arguments], stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def test_a_closed_output_is_no_error() -> None:
    done = run(">&-", "version")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_this_machines_fault() -> None:
    done = run(">/dev/full", "version")
    assert (done.returncode, done.stderr) == (3, "podvitals: cannot write the output: no space left on device\n")


def test_ctrl_c_during_the_first_imports_prints_nothing(tmp_path: Path) -> None:
    """The signal comes from within, with the first module that is imported after podvitals itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'podvitals.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    line = [sys.executable, "-m", "podvitals", "version"]
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(line, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
