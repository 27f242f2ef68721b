"""Wrong kubeconfigs and unwilling API servers: one sentence, which names the object, and the exit code of whose fault it is."""

import asyncio
import signal
from pathlib import Path

import pytest
from aiohttp import web

from tests.kube.fake import PREFIX, Answer, FakeApi, fake_api, hang, status, text
from tests.wrong_input.process import kubeconfig, podvitals, started

NO_LEASES = 'leases is forbidden: User "jane" cannot list resource "leases" in API group "coordination.k8s.io"'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


def exec_plugin(script: str) -> str:
    return f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, '{script}'], interactiveMode: Never}}}}"


async def test_a_kubeconfig_one_may_not_read_is_this_machines_fault(config: Path) -> None:
    kubeconfig(config, "http://127.0.0.1:9").chmod(0)
    for arguments in (["get", "pods"], ["agent"], ["driver", "a.example.com", "--detector", "net:eth*"]):
        said = (await podvitals(*arguments, "--kubeconfig", config)).sentence(3)
        assert said == f"kubeconfig: cannot read {config}: Permission denied"


async def test_an_empty_path_is_refused_and_not_taken_for_the_working_directory() -> None:
    said = (await podvitals("get", "pods", "--kubeconfig", "")).sentence(2)
    assert said.startswith("Invalid value for '--kubeconfig': it is empty: is a variable not set?")
    for arguments in (
        ["agent", "--state-dir", ""],
        ["driver", "a.example.com", "--detector", "net:eth*", "--cdi-dir", ""],
        ["lab", "--dir", ""],
    ):
        assert "it is empty" in (await podvitals(*arguments)).sentence(2)


async def test_an_exec_plugin_that_fails_is_told_with_its_own_words(config: Path) -> None:
    kubeconfig(config, "http://127.0.0.1:9", exec_plugin("echo your login has expired >&2; exit 3"))
    said = (await podvitals("get", "pods", KUBECONFIG=config)).sentence(3)
    assert said == "the kubeconfig's exec plugin 'sh' failed with exit code 3: your login has expired"


async def refused(api: FakeApi, config: Path, answer: Answer, *arguments: str) -> str:
    api.answers.extend([answer] * 8)
    said = (await podvitals(*arguments, KUBECONFIG=kubeconfig(config, api.config().server))).sentence(4)
    assert PREFIX not in said
    assert "s3cret" not in said
    return said


@pytest.mark.parametrize("arguments", [("get", "pods"), ("get", "devices"), ("describe", "pod", "a"), ("describe", "device", "a")])
async def test_credentials_that_are_not_accepted_are_told_whatever_was_asked(config: Path, arguments: tuple[str, ...]) -> None:
    async with fake_api() as api:
        assert "401 Unauthorized" in await refused(api, config, status(401, "Unauthorized"), *arguments)


@pytest.mark.parametrize("arguments", [("get", "devices"), ("get", "drivers"), ("get", "nodes"), ("describe", "device", "gpu-3")])
async def test_a_reader_without_any_right_is_told_which_and_not_that_there_is_nothing(config: Path, arguments: tuple[str, ...]) -> None:
    async with fake_api() as api:
        said = await refused(api, config, status(403, "Forbidden", NO_LEASES), *arguments)
    assert 'cannot list resource "leases"' in said


async def test_a_right_that_is_missing_costs_what_it_would_have_shown_and_is_named(config: Path) -> None:
    async with fake_api() as api:
        api.answers.append(status(403, "Forbidden", NO_LEASES))
        outcome = await podvitals("get", "devices", KUBECONFIG=kubeconfig(config, api.config().server))
    assert outcome.code == 0
    assert outcome.out == "No devices, as far as could be read.\n"
    assert outcome.err.startswith("note: no right to read the agents' Leases: ")
    assert 'cannot list resource "leases"' in outcome.err


async def test_a_login_page_in_place_of_the_api_is_told_on_one_line(config: Path) -> None:
    page = "<html>\n<body>Please log in</body>\n</html>"
    async with fake_api() as api:
        said = await refused(api, config, text(200, page), "get", "pods")
        assert "something that is not JSON" in said
        assert "Please log in" in said
        api.answers.clear()
        assert "<html> <body>Please log in" in await refused(api, config, text(501, page), "get", "pods")


async def test_an_api_that_sends_us_elsewhere_is_told(config: Path) -> None:
    async with fake_api() as api:
        assert "HTTP status 302" in await refused(api, config, text(302, ""), "get", "pods")


async def test_a_selector_that_is_rubbish_gets_the_apis_own_words(config: Path) -> None:
    async with fake_api() as api:
        api.answers.append(text(200, '{"kind": "LeaseList", "items": [], "metadata": {}}'))
        said = await refused(api, config, status(400, "BadRequest", "unable to parse requirement: found '!'"), "get", "pods", "-l", "!!")
    assert said == "cannot list pods in namespace \"default\": unable to parse requirement: found '!'"


async def test_ctrl_c_ends_a_command_that_waits_for_the_api(config: Path) -> None:
    asked = asyncio.Event()

    async def silence(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await hang(request)

    async with fake_api() as api:
        api.answers.append(silence)
        async with started("get", "pods", KUBECONFIG=kubeconfig(config, api.config().server)) as process, asyncio.timeout(60):
            await asked.wait()
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
