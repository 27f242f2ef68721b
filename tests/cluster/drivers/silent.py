"""A driver whose detector only pushes, and which stops pushing while the file `silent` is there: what a wedged monitor looks like."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from podvitals import Detector, Device, Driver, Reading

DEVICES = Path(os.environ["DEVICES"])


class Silent(Detector):
    interval, lease = 1.0, 2.0

    def devices(self) -> Iterable[Device]:
        return [Device("d0", env={"TOY": "d0"})]

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        while True:
            if not DEVICES.joinpath("silent").exists():
                yield "d0", Reading.healthy()
            await asyncio.sleep(0.2)


Driver(os.environ["DRIVER_NAME"], Silent()).main()
