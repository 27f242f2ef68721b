"""Upstream's kubectl against a server of the lab: where it is found, and how a test runs it."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.build import cached

RELEASES = ("1.37.2", "1.34.4")
SECONDS = 20.0


def found() -> dict[str, Path]:
    """By the name a test shows: $PODVITALS_KUBECTL (paths, `:` between), else those `make test-cluster` built, else the one on PATH."""
    if named := os.environ.get("PODVITALS_KUBECTL"):
        paths = [Path(part) for part in named.split(":") if part]
        return {f"{path.parent.name}/{path.name}": path for path in paths}
    built = {release: cached(release) for release in RELEASES if cached(release).exists()}
    on_path = shutil.which("kubectl")
    return built or ({"PATH": Path(on_path)} if on_path else {})


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`program` may be a binary of several components, which goes by the name it is called: `home` holds a link named kubectl."""

    home: Path
    server: str

    @classmethod
    def at(cls, home: Path, program: Path, server: str) -> "Kubectl":
        (home / "kubectl").symlink_to(program)
        context = {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
        cluster = {"name": "lab", "cluster": {"server": server}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "lab", "contexts": [context], "clusters": [cluster]}
        (home / "kubeconfig").write_text(json.dumps(config | {"users": [{"name": "lab", "user": {}}]}))
        return cls(home, server)

    async def __call__(self, *arguments: str, stdin: Any = None) -> Said:
        text = stdin if isinstance(stdin, str) else json.dumps(stdin)
        async with self.running(*arguments) as process:
            out, err = await process.communicate(text.encode() if stdin is not None else b"")
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def ok(self, *arguments: str, stdin: Any = None) -> str:
        said = await self(*arguments, stdin=stdin)
        assert said.code == 0, said
        return said.out

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        environment = {"KUBECONFIG": str(self.home / "kubeconfig"), "HOME": str(self.home), "PATH": os.environ["PATH"]}
        pipe = asyncio.subprocess.PIPE
        program = str(self.home / "kubectl")
        process = await asyncio.create_subprocess_exec(program, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        watchdog = asyncio.get_running_loop().call_later(SECONDS, process.kill)
        try:
            yield process
        finally:
            watchdog.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    """Its next line; an error where it ended instead."""
    assert process.stdout is not None
    assert process.stderr is not None
    text = await process.stdout.readline()
    assert text, await process.stderr.read()
    return text.decode().rstrip("\n")
