"""The lab's API server as a process of its own: `python -m tests.bench.apiserver DIR` writes DIR/kubeconfig, says so, and serves until
it is ended."""

import asyncio
import json
import sys
from pathlib import Path

from podvitals.lab.api import ApiServer


async def serve(directory: Path) -> None:
    async with ApiServer() as server:
        entry = {"name": "api"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [entry | {"cluster": {"server": server.url}}],
            "users": [entry | {"user": {}}],
            "contexts": [entry | {"context": {"cluster": "api", "user": "api", "namespace": "default"}}],
            "current-context": "api",
        }
        (directory / "plugins_registry").mkdir()
        (directory / "kubeconfig").write_text(json.dumps(config))
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
