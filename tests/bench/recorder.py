"""One watch over the pods of the bench; it notes when each change was first seen, in the condition and in the field."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import aiohttp

from podvitals.device.health import Health
from tests.cluster.api import Object
from tests.cluster.subjects import condition

Place = Literal["condition", "field"]
_NUMBER = re.compile(r"\bn=(\d+)")
_OF_STATUS = {"True": Health.HEALTHY, "False": Health.UNHEALTHY, "Unknown": Health.UNKNOWN}


@dataclass(frozen=True)
class Sight:
    """What a pod says: the worst health of its devices, and the number its text carries (0: none)."""

    health: Health
    number: int


@dataclass
class _Wait:
    pod: str
    place: Place
    health: Health
    number: int
    seen: asyncio.Future[float]


class Recorder:
    """`run(events)` beside the measuring; `seen(...)` before the change is made, then await what it returns."""

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}
        self.broken: RuntimeError | None = None
        self._waits: list[_Wait] = []

    def seen(self, pod: str, place: Place, number: int) -> asyncio.Future[float]:
        """Done with the second at which change `number` (or a later one) was seen; `number` 0 waits for all healthy."""
        return self._wait(pod, place, Health.UNHEALTHY if number else Health.HEALTHY, number)

    def ended(self, pod: str, place: Place) -> asyncio.Future[float]:
        """Done with the second at which it is first seen that nobody knows any more."""
        return self._wait(pod, place, Health.UNKNOWN, 0)

    def _wait(self, pod: str, place: Place, health: Health, number: int) -> asyncio.Future[float]:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waits.append(_Wait(pod, place, health, number, future))
        return future

    async def run(self, events: AsyncIterator[tuple[str, Object, float]]) -> None:
        """Whoever waits is told when it breaks off, as where the API server has no patience with a reader that is slow."""
        try:
            await self._read(events)
        except (RuntimeError, ValueError, OSError, EOFError, aiohttp.ClientError) as error:
            self.broken = RuntimeError(f"the bench's watch of its pods broke off: {error!r}")
            for wait in self._waits:
                if not wait.seen.done():
                    wait.seen.set_exception(self.broken)

    async def _read(self, events: AsyncIterator[tuple[str, Object, float]]) -> None:
        async for kind, pod, received in events:
            if kind == "ERROR":
                raise RuntimeError(pod)
            name = pod["metadata"]["name"]
            if kind == "DELETED":
                self.pods.pop(name, None)
                continue
            self.pods[name] = pod
            if any(wait.pod == name for wait in self._waits):
                self._note(name, pod, received)

    def _note(self, name: str, pod: Object, received: float) -> None:
        sights = {"condition": _in_condition(pod), "field": _in_field(pod)}
        for wait in [wait for wait in self._waits if wait.pod == name]:
            sight = sights[wait.place]
            if sight is None or sight.health is not wait.health or sight.number < wait.number:
                continue
            self._waits.remove(wait)
            if not wait.seen.done():
                wait.seen.set_result(received)


def _in_condition(pod: Object) -> Sight | None:
    found = condition(pod)
    return Sight(_OF_STATUS[found["status"]], _number(found.get("message", ""))) if found else None


def _in_field(pod: Object) -> Sight | None:
    entries = [
        resource
        for status in pod["status"].get("containerStatuses", ())
        for entry in status.get("allocatedResourcesStatus", ())
        for resource in entry["resources"]
    ]
    if not entries:
        return None
    return Sight(Health.worst(Health(each["health"]) for each in entries), max(_number(each.get("message", "")) for each in entries))


def _number(text: str) -> int:
    return max((int(number) for number in _NUMBER.findall(text)), default=0)
