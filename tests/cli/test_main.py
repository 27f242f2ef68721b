"""Wrong input on the command line: one sentence on stderr, an exit code that says whose fault it is, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def podvitals(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": "/nonexistent", **environment}
    env.pop("KUBECONFIG", None)
    env |= environment
    return subprocess.run([sys.executable, "-m", "podvitals", *arguments], capture_output=True, text=True, env=env, timeout=60, check=False)


def kubeconfig(tmp_path: Path, server: str = "http://127.0.0.1:9/prefix", context: str = "lab") -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(
        f"""{{apiVersion: v1, kind: Config, current-context: lab,
        contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}], clusters: [{{name: c, cluster: {{server: "{server}"}}}}],
        users: [{{name: u, user: {{token: sekret}}}}]}}"""
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["frobnicate"], 2, "No such command"),
        (["get", "gadgets"], 2, "none of pods, devices, drivers, nodes"),
        (["get", "pods", "-o", "xml"], 2, "'xml' is not one of"),
        (["get", "pods", "-w", "-o", "json"], 2, "-w prints a table"),
        (["describe", "pod"], 2, "Missing argument 'NAME'"),
        (["get", "pods", "--kubeconfig", "/nonexistent/kubeconfig"], 2, "/nonexistent/kubeconfig does not exist"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence(arguments: list[str], code: int, says: str) -> None:
    outcome = podvitals(*arguments)
    assert outcome.returncode == code
    assert says in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_an_api_that_does_not_answer_is_told_with_its_address_and_no_secret(tmp_path: Path) -> None:
    outcome = podvitals("get", "pods", "--kubeconfig", str(kubeconfig(tmp_path)))
    assert outcome.returncode == 4
    assert "127.0.0.1:9" in outcome.stderr
    assert "sekret" not in outcome.stderr
    assert "prefix" not in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_an_unknown_context_is_told_with_those_there_are(tmp_path: Path) -> None:
    outcome = podvitals("get", "pods", "--kubeconfig", str(kubeconfig(tmp_path)), "--context", "prod")
    assert outcome.returncode == 2
    assert "prod" in outcome.stderr
    assert "lab" in outcome.stderr


def test_help_needs_no_cluster_and_names_every_command() -> None:
    outcome = podvitals("--help")
    assert outcome.returncode == 0
    for verb in ("lab", "get", "describe", "agent", "driver", "inject", "completion", "version"):
        assert verb in outcome.stdout


def test_kubectl_vitals_has_the_peoples_verbs_only() -> None:
    program = "import sys; sys.argv = ['kubectl-vitals', *sys.argv[1:]]\nfrom podvitals.cli.main import kubectl_vitals; kubectl_vitals()"
    page = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert "describe" in page.stdout
    assert "agent " not in page.stdout
    assert subprocess.run([sys.executable, "-c", program, "lab"], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_is_one_the_shell_accepts_and_it_completes_kinds(shell: str) -> None:
    script = podvitals("completion", shell)
    assert script.returncode == 0
    assert "_PODVITALS_COMPLETE" in script.stdout
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script.stdout, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
        offered = podvitals(_PODVITALS_COMPLETE="bash_complete", COMP_WORDS="podvitals get d", COMP_CWORD="2")
        assert "plain,devices" in offered.stdout
        assert "plain,drivers" in offered.stdout


def test_a_reader_that_leaves_early_is_no_error() -> None:
    line = f"{sys.executable} -m podvitals --help | true; exit ${{PIPESTATUS[0]}}"
    outcome = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0
    assert outcome.stderr == ""
