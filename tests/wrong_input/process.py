"""podvitals as a person starts it: a process, what it printed, how it ended."""

import asyncio
import contextlib
import ctypes
import os
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_DROP_FROM_BOUNDING_SET = 24  # prctl(PR_CAPBSET_DROP)
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str

    def sentence(self, code: int) -> str:
        """The one line on stderr of a command that ended with `code` and printed nothing else."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("podvitals: "), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("podvitals: ").rstrip("\n")


def bound_by_permissions() -> None:
    """For a child: root too is stopped by a file's permission bits."""
    for capability in _OVERRIDES:
        _LIBC.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


@asynccontextmanager
async def started(
    *arguments: str, out: int = asyncio.subprocess.PIPE, **environment: str | Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running command, killed at the end if it still runs."""
    pipe = asyncio.subprocess.PIPE
    env = {**os.environ, "HOME": "/nonexistent", "KUBECONFIG": "", **{name: str(value) for name, value in environment.items()}}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podvitals", *arguments, stdout=out, stderr=pipe, env=env, preexec_fn=bound_by_permissions
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def podvitals(*arguments: str | Path, **environment: str | Path) -> Outcome:
    async with started(*map(str, arguments), out=asyncio.subprocess.PIPE, **environment) as process, asyncio.timeout(60):
        out, err = await process.communicate()
        return Outcome(process.returncode or 0, out.decode(), err.decode())


async def on_screen(width: int, *arguments: str, **environment: str | Path) -> str:
    """What it prints on a terminal so wide, a screenful at the most."""
    ours, its = os.openpty()
    try:
        termios.tcsetwinsize(its, (24, width))
        async with started(*arguments, out=its, TERM="dumb", COLUMNS=str(width), **environment) as process, asyncio.timeout(60):
            await process.communicate()
        return os.read(ours, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(its)


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """The next line of the process's stderr that has `text` in it."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"the process ended without saying {text!r}")


def kubeconfig(path: Path, server: str, user: str = "{token: s3cret-token}") -> Path:
    path.write_text(
        f"""{{apiVersion: v1, kind: Config, current-context: lab, contexts: [{{name: lab, context: {{cluster: c, user: u}}}}],
        clusters: [{{name: c, cluster: {{server: "{server}"}}}}], users: [{{name: u, user: {user}}}]}}"""
    )
    return path
