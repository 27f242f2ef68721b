"""What each pod was given to use, kept on disk until the pod's object is gone: a kubelet that begins anew may find that a pod has ended and
its claims with it, and must still know whose fault one of its devices' is.

One small file a pod. It is written before the pod's containers start, and before another pod gets the device, so that what it says is
never too much. What cannot be read or written is forgotten: then nothing is added to that pod.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from podvitals.claim.holdings import Holding
from podvitals.device.key import DeviceKey

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """One device in one entry of one container's field. `id`: its first CDI id, "" for none."""

    container: str
    entry: str
    key: DeviceKey
    id: str

    def shown_as(self, resource_id: str) -> bool:
        return resource_id in (self.id, str(self.key))


Places = tuple[Place, ...]


def places(holdings: Iterable[Holding], ids: Mapping[DeviceKey, str]) -> Places:
    return tuple(Place(holding.container, holding.entry, holding.key, ids.get(holding.key, "")) for holding in holdings)


class Memory:
    """`directory` need not be there yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writing = asyncio.Lock()

    async def keep(self, uid: str, what: Places) -> None:
        async with self._writing:
            await asyncio.to_thread(self._write, uid, what)

    async def read(self, uid: str) -> Places:
        """Nothing, where nothing is known."""
        return await asyncio.to_thread(self._read, uid)

    async def drop(self, uid: str) -> None:
        async with self._writing:
            await asyncio.to_thread(self._file(uid).unlink, missing_ok=True)

    async def keep_only(self, uids: Iterable[str]) -> None:
        """These pods are all there are."""
        async with self._writing:
            await asyncio.to_thread(self._sweep, {self._file(uid) for uid in uids})

    def _file(self, uid: str) -> Path:
        return self._directory / f"{uid}.json"

    def _write(self, uid: str, what: Places) -> None:
        file = self._file(uid)
        new = file.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(what))
            os.replace(new, file)
        except OSError as error:
            log.warning("what pod %s holds cannot be kept in %s: %s", uid, file, error.strerror)
            file.unlink(missing_ok=True)

    def _read(self, uid: str) -> Places:
        try:
            return msgspec.json.decode(self._file(uid).read_bytes(), type=Places)
        except (OSError, msgspec.DecodeError):
            return ()

    def _sweep(self, kept: set[Path]) -> None:
        for file in self._directory.glob("*.json"):
            if file not in kept:
                file.unlink(missing_ok=True)
