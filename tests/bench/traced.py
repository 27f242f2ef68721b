"""An agent that also writes down when it was handed a report, when it had taken it, and when a pod's patch began and ended.

python -m tests.bench.traced FILE agent [FLAGS]        (lines of JSON: what, pod, from, to; CLOCK_MONOTONIC)
"""

import json
import sys
import time
from typing import Any

import podvitals.kube.client
import podvitals.node.watch
from podvitals.cli.main import main
from podvitals.kube.resources import Resource


def trace(path: str) -> None:
    """Wraps the two calls through which everything passes."""
    file = open(path, "w", buffering=1)  # noqa: SIM115 - as long as the process
    watch = podvitals.node.watch.NodeWatch
    patch, heard = podvitals.kube.client.Client.patch, watch.heard

    async def timed_patch(self: Any, resource: Resource[Any], name: str, *rest: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return await patch(self, resource, name, *rest, **options)
        finally:
            file.write(json.dumps([resource.plural, name, began, time.monotonic()]) + "\n")

    def timed_heard(*given: Any) -> Any:
        began = time.monotonic()
        try:
            return heard(*given)
        finally:
            file.write(json.dumps(["report", "", began, time.monotonic()]) + "\n")

    podvitals.kube.client.Client.patch = timed_patch  # type: ignore[method-assign]
    watch.heard = timed_heard  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    trace(sys.argv.pop(1))
    main()
