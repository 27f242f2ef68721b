"""A container as a process group of this machine, which ends with the lab whatever happens to the lab.

Each program is started through a launcher of a few lines: it asks the kernel to kill the program when the lab's process dies
(PR_SET_PDEATHSIG), puts back the signal dispositions that Python changes, and executes it. A `preexec_fn` would do it without a launcher,
but runs Python between fork and exec, in a process that has threads.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from podvitals.errors import LocalError

LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]): os._exit(137)
for name in ("SIGPIPE", "SIGXFSZ"): signal.signal(getattr(signal, name), signal.SIG_DFL)
if sys.argv[2] == "-": os.environ.pop("LC_CTYPE", None)
try: os.execv(sys.argv[3], sys.argv[4:])
except OSError as error: os.write(2, f"cannot execute {sys.argv[3]}: {error.strerror}\\n".encode()); os._exit(126)
"""
"""argv: the lab's pid; "-" where the program's environment has no LC_CTYPE (Python sets it, PEP 538); the program's path; its argv."""


class CannotStart(LocalError):
    """The program cannot be executed; worded as containerd words it."""


def launch_line(program: str, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The command line that runs `program` so that it dies with this process."""
    return [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), "=" if "LC_CTYPE" in env else "-", program, *argv]


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
