"""`podvitals conformance driver` as it is typed."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.conformance.model import Model
from tests.conformance.twins import BadName


async def podvitals(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podvitals", "conformance", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await process.communicate()
    return process.returncode or 0, said.decode(), complained.decode()


async def test_a_driver_that_fails_is_exit_code_1_with_the_sentence_what_was_seen_and_what_to_do(short: Path) -> None:
    async with BadName(short) as driver:
        code, said, _ = await podvitals("driver", str(driver.registration_path), "--only", "name", "--only", "type")
    assert code == 1
    assert "CONTRACT §1: The name is the driver name, a DNS subdomain of at most 63 characters." in said
    assert "Seen: driver name 'Toy Driver' is not a DNS subdomain" in said
    assert "Do:   use the name your ResourceSlices" in said
    assert said.endswith("2 cases: 1 pass, 1 fail\n")


async def test_a_driver_that_passes_is_exit_code_0_and_json_for_programs(short: Path) -> None:
    async with Model(short) as driver:
        code, said, _ = await podvitals("driver", str(driver.registration_path), "--only", "get-info*", "-o", "json")
    assert code == 0
    assert [case["outcome"] for case in json.loads(said)["cases"]] == ["pass", "pass"]


async def test_wrong_input_is_exit_code_2_and_one_sentence(short: Path) -> None:
    for arguments, sentence in (
        (["driver"], "say which driver: its registration socket"),
        (["driver", str(short)], "is no socket: name the driver's registration socket"),
        (["driver", "x", "--only", "nothing"], "no case is called 'nothing'"),
        (["driver", "x", "--timeout", "0"], "'--timeout'"),
        (["node", "--node-name", "n", "--plugin-dir", str(short / "none")], "is not a directory: name the kubelet's plugins_registry"),
        (["driver", "x", "--only", "name", "--skip", "na*"], "no case is left to try"),
    ):
        code, said, complained = await podvitals(*arguments)
        assert (code, said) == (2, ""), arguments
        assert sentence in complained
        assert complained.count("\n") == 1


async def test_who_names_no_socket_is_told_which_there_are(short: Path) -> None:
    async with Model(short) as driver:
        for wrong, what in ((short / "plugins_registry" / "toy-reg.sock", "there is no "), (short / "plugins_registry", "no socket")):
            code, _, complained = await podvitals("driver", str(wrong))
            assert code == 2
            assert what in complained
            assert f"(in {driver.registration_path.parent} there is {driver.registration_path.name})" in complained


@pytest.mark.parametrize(("suite", "case"), [("driver", "heartbeat"), ("node", "lease-end")])
async def test_the_cases_can_be_listed_without_a_driver_or_a_node(suite: str, case: str) -> None:
    code, said, _ = await podvitals(suite, "--list", "--only", case)
    assert code == 0
    assert said.splitlines()[1].startswith(f"{case}  ")
    code, said, _ = await podvitals(suite, "--list", "--only", case, "-o", "json")
    (listed,) = json.loads(said)["cases"]
    assert (code, listed["name"], bool(listed["do"])) == (0, case, True)
