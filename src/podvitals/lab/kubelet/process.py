"""A container as a process group of this machine, which ends with the lab whatever happens to the lab (`launch.py`)."""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from podvitals.errors import LocalError
from podvitals.lab.kubelet.launch import launch_line


class CannotStart(LocalError):
    """The program cannot be executed; worded as containerd words it."""


class ContainerProcess:
    """`start` it, `wait` for its exit code, `signal` all of its group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "ContainerProcess":
        """Raises CannotStart. Output of both kinds goes to `log`, appended."""
        program = await asyncio.to_thread(_find, argv[0], env.get("PATH", ""), directory)
        output = await asyncio.to_thread(os.open, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *launch_line(program, argv, env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=dict(env),
                start_new_session=True,
            )
        except OSError as error:
            raise CannotStart(f"cannot start {argv[0]!r} in {directory}: {error.strerror or error}") from None
        finally:
            os.close(output)
        return cls(process)

    async def wait(self) -> int:
        """The exit code, 128 + n for signal n. Whatever its group leaves behind ends with it, as in a container whose first process
        ends."""
        code = await self._process.wait()
        self.signal(signal.SIGKILL)
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _find(name: str, path: str, directory: Path) -> str:
    if not directory.is_dir():
        raise CannotStart(f"workingDir {directory} is not a directory of this machine")
    if "/" in name:
        found = directory / name
        try:
            mode = found.stat().st_mode
        except OSError as error:
            raise CannotStart(f'exec: "{name}": stat {found}: {(error.strerror or "no such file").lower()}') from None
        if stat.S_ISDIR(mode) or not os.access(found, os.X_OK):
            raise CannotStart(f'exec: "{name}": permission denied')
        return str(found)
    program = shutil.which(name, path=path)
    if program is None:
        raise CannotStart(f'exec: "{name}": executable file not found in $PATH')
    return program
