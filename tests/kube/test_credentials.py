"""Credentials: renewed when they must be, and a plugin's failure told with what it said."""

import asyncio
import inspect
import json
import os
import stat
from pathlib import Path

import pytest

from podvitals.claim.times import rfc3339
from podvitals.errors import InvalidInput, LocalError, Unauthorized
from podvitals.kube.client import Client
from podvitals.kube.config import ExecPlugin, Secret, TokenFile
from podvitals.kube.credentials import REREAD, Wallet
from podvitals.kube.resources import PODS
from podvitals.testing.clock import ManualClock
from tests.kube.fake import FakeApi, status

V1 = "client.authentication.k8s.io/v1"


def plugin(directory: Path, script: str, **more: object) -> ExecPlugin:
    """An exec plugin that is a shell script; it counts its runs in `runs`."""
    path = directory / "login"
    path.write_text(f"#!/bin/sh\necho run >> {directory}/runs\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ExecPlugin(str(path), **more)  # type: ignore[arg-type]


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines())


def says(token: str = "t", *, version: str = V1, **status: object) -> str:
    said = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token} | status}
    return f"cat <<'EOF'\n{json.dumps(said)}\nEOF"


async def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", ManualClock()
    file.write_text("one\n")
    wallet = Wallet(TokenFile(file), clock)
    assert (await wallet.secret()).token == "one"
    file.write_text("two")
    await clock.advance(REREAD - 1)
    assert (await wallet.secret()).token == "one"
    await clock.advance(2)
    assert (await wallet.secret()).token == "two"
    file.unlink()
    await clock.advance(REREAD)
    assert (await wallet.secret()).token == "two", "a file that is away for a moment must not lock us out"


async def test_a_token_file_that_was_never_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=f"cannot read the token {tmp_path}/token: No such file"):
        await Wallet(TokenFile(tmp_path / "token"), ManualClock()).secret()


async def test_a_plugin_is_asked_once_for_many_calls_and_again_when_its_answer_expires(tmp_path: Path) -> None:
    clock = ManualClock()
    wallet = Wallet(plugin(tmp_path, says("t", expirationTimestamp=rfc3339(clock.wall() + 100))), clock)
    got = await asyncio.gather(*(wallet.secret() for _ in range(5)))
    assert {secret.token for secret in got} == {"t"}
    assert runs(tmp_path) == 1
    await clock.advance(85)
    await wallet.secret()
    assert runs(tmp_path) == 1
    await clock.advance(10)
    await wallet.secret()
    assert runs(tmp_path) == 2


async def test_a_plugin_that_names_no_expiry_is_asked_once_and_again_when_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    wallet = Wallet(plugin(tmp_path, says()), clock)
    first = await wallet.secret()
    await clock.advance(10**9)
    assert await wallet.secret() is first
    wallet.reject(Secret("another"))
    assert await wallet.secret() is first
    wallet.reject(first)
    assert await wallet.secret() is not first
    assert runs(tmp_path) == 2


async def test_a_plugin_is_told_what_the_kubeconfig_says_and_gives_certificates_too(tmp_path: Path) -> None:
    script = f'echo "$A $1 $KUBERNETES_EXEC_INFO" > {tmp_path}/told\n' + says("", clientCertificateData="CERT", clientKeyData="KEY")
    made = plugin(tmp_path, script, args=("x",), env=(("A", "b"),), cluster_info={"server": "https://c"})
    assert await Wallet(made, ManualClock()).secret() == Secret("", b"CERT", b"KEY")
    env, arg, info = (tmp_path / "told").read_text().split(" ", 2)
    assert (env, arg) == ("b", "x")
    assert json.loads(info) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://c"}},
    }


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'please log in' >&2; exit 3", "failed with exit code 3: please log in"),
        ("exit 1", "failed with exit code 1$"),
        ("echo nonsense", "did not print an ExecCredential"),
        ("echo '[]'", "did not print an ExecCredential"),
        ('echo \'{"apiVersion": "x"}\'', "did not print an ExecCredential"),
        (says(version="client.authentication.k8s.io/v1beta1"), f"answered in '{V1}beta1'; the kubeconfig asks for {V1}"),
        (says(""), "gave neither a token nor a client certificate"),
        (says("", clientKeyData="KEY"), "a key without its certificate"),
        ("head -c 10 /dev/urandom", "did not print an ExecCredential"),
    ],
)
async def test_a_plugin_that_fails_is_told_with_what_it_said(tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(LocalError, match=rf"exec plugin '{tmp_path}/login' .*{told}"):
        await Wallet(plugin(tmp_path, script), ManualClock()).secret()


async def test_a_plugin_that_does_not_exist_is_told_with_the_hint_for_installing_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"exec plugin 'no-such-login' cannot be started: No such file or directory\nrun: install it"):
        await Wallet(ExecPlugin("no-such-login", install_hint="run: install it"), ManualClock()).secret()


async def test_a_plugin_that_waits_for_ever_is_ended_with_what_it_started(tmp_path: Path) -> None:
    made = plugin(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait", timeout=0.5)
    with pytest.raises(LocalError, match=r"did not end within 0\.5 s; does it wait for a login\?"):
        await Wallet(made, ManualClock()).secret()
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(5):
        while alive(child):
            await asyncio.sleep(0)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


async def test_a_401_makes_the_client_ask_the_plugin_anew_and_try_once_more(api: FakeApi, tmp_path: Path) -> None:
    made = plugin(tmp_path, f'cat <<EOF\n{{"apiVersion": "{V1}", "status": {{"token": "t$(wc -l < {tmp_path}/runs)"}}}}\nEOF')
    api.answers.append(status(401))
    async with Client(api.config(made)) as client:
        assert (await client.list(PODS)).items == []
        assert api.tokens == ["Bearer t1", "Bearer t2"]
        api.answers.extend([status(401), status(401)])
        with pytest.raises(Unauthorized):
            await client.list(PODS)


async def test_a_401_for_a_token_that_cannot_change_is_told_at_once(api: FakeApi) -> None:
    api.answers.append(status(401))
    async with Client(api.config()) as client:
        with pytest.raises(Unauthorized):
            await client.list(PODS)
    assert len(api.requests) == 1


def test_a_plugin_that_hangs_is_told_as_one_before_the_call_that_waits_for_it_gives_up() -> None:
    assert ExecPlugin("login").timeout < inspect.signature(Client).parameters["timeout"].default
