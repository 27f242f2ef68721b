"""A driver's process, run for its owner (node/apart.py): `python -m podvitals.testing.conformance.alone REGISTRATION ENDPOINT NAME POOL`.

Each line of its standard input, base64, is said as a report, of any length up to LONGEST. It gives every claim its one device d0, writes
`registered` once a kubelet has taken it, and ends with its standard input. Here and not in `node`: it starts in a third of the time.
"""

import asyncio
import os
import signal
import sys
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path

from podvitals.testing.driver import FakeDriver
from podvitals.wire import stream
from podvitals.wire.messages import ClaimRef, PreparedDevice, PrepareResult

LONGEST = 64 * 1024 * 1024
"""Bytes of a report; this library's own limit is what receivers take."""


class _Driver(FakeDriver):
    def __init__(self, registration_path: Path, endpoint: Path, name: str, pool: str) -> None:
        super().__init__(endpoint.parent, name, pool=pool)
        self.registration_path, self.endpoint = registration_path, endpoint

    async def notify_registration(self, registered: bool, error: str) -> None:
        await super().notify_registration(registered, error)
        if registered:
            os.write(sys.stdout.fileno(), b"registered\n")

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        device = PreparedDevice(("device",), self.pool, "d0", ())
        self.answers |= {claim.uid: PrepareResult((device,)) for claim in claims}
        return await super().prepare(claims)


async def _main(registration_path: str, endpoint: str, name: str, pool: str) -> None:
    stream.MESSAGE_LIMIT = LONGEST  # type: ignore[attr-defined]  # what is sent here is meant to be refused there
    said = asyncio.StreamReader(limit=2 * LONGEST)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    async with _Driver(Path(registration_path), Path(endpoint), name, pool) as driver:
        while line := await said.readline():
            driver.report_raw(b64decode(line))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its owner decides when it ends
    asyncio.run(_main(*sys.argv[1:]))
