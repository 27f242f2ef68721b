"""Containers as process groups: exit codes, what is left behind, and what cannot be started."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from podvitals.lab.kubelet.process import CannotStart, ContainerProcess

ENV = {"PATH": os.environ["PATH"]}


async def run(directory: Path, *argv: str, env: dict[str, str] = ENV) -> tuple[int, str]:
    process = await ContainerProcess.start(argv, env, directory, directory / "log")
    async with asyncio.timeout(20):
        code = await process.wait()
    return code, await asyncio.to_thread((directory / "log").read_text)


async def test_output_of_both_kinds_and_the_exit_code_are_kept(tmp_path: Path) -> None:
    assert await run(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")


async def test_a_signal_is_128_and_its_number(tmp_path: Path) -> None:
    assert (await run(tmp_path, "sh", "-c", "kill -SEGV $$"))[0] == 139
    assert (await run(tmp_path, "sh", "-c", "kill -KILL $$"))[0] == 137


async def test_the_program_sees_exactly_its_environment_and_default_signals(tmp_path: Path) -> None:
    _, said = await run(tmp_path, "sh", "-c", "env; trap; yes | head -n 1; pwd")
    assert "LC_CTYPE" not in said
    assert "PYTHON" not in said
    assert f"{tmp_path}" in said
    assert "Broken pipe" not in said


async def test_what_the_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    await run(tmp_path, "sh", "-c", "sleep 1000 & echo $!")
    pid = int((await asyncio.to_thread((tmp_path / "log").read_text)).strip())
    async with asyncio.timeout(10):
        while await asyncio.to_thread(_alive, pid):
            await asyncio.sleep(0.01)


async def test_the_whole_group_is_signalled(tmp_path: Path) -> None:
    process = await ContainerProcess.start(("sh", "-c", "sleep 1000; exit 3"), ENV, tmp_path, tmp_path / "log")
    process.signal(signal.SIGTERM)
    assert await process.wait() == 143


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("no-such-program", 'exec: "no-such-program": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("./plain", 'exec: "./plain": permission denied'),
        ("/tmp", 'exec: "/tmp": permission denied'),
    ],
)
async def test_a_program_that_cannot_be_executed_is_said_in_containerds_words(tmp_path: Path, argv: str, says: str) -> None:
    (tmp_path / "plain").write_text("x")
    with pytest.raises(CannotStart) as refusal:
        await ContainerProcess.start((argv,), ENV, tmp_path, tmp_path / "log")
    assert says in str(refusal.value)


async def test_a_working_directory_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"workingDir .* is not a directory"):
        await ContainerProcess.start(("true",), ENV, tmp_path / "nope", tmp_path / "log")


async def test_a_file_that_is_no_program_ends_with_126(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"\x7fELFnot really")
    (tmp_path / "odd").chmod(0o755)
    code, said = await run(tmp_path, "./odd")
    assert code == 126
    assert "cannot execute" in said


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
