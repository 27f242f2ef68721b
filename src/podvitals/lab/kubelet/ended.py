"""A pod that had ended before this kubelet began. What stands on it stays, and a fault of its devices that is found soon after its end is
added, as with pods that ended under this one (ARCHITECTURE rule 6)."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podvitals.clock import set_by
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.errors import NotFound, PodvitalsError
from podvitals.lab.kubelet.memory import Places
from podvitals.lab.kubelet.worker import Tools
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from podvitals.node.record import DeviceState
from podvitals.pod.book import POST_MORTEM_WINDOW
from podvitals.pod.status import ended_at

RETRY = 0.5
_STATUSES = ("initContainerStatuses", "containerStatuses")
_Object = Mapping[str, Any]


class EndedPod:
    """`run` until nothing can be added any more, or its object is gone."""

    over = True

    def __init__(self, pod: RunnablePod, held: Places, tools: Tools) -> None:
        self.pod, self.keys = pod, frozenset(place.key for place in held)
        self._held, self._tools, self._clock = held, tools, tools.clock
        self._late: dict[DeviceKey, DeviceState] = {}
        self._closed: set[DeviceKey] = set()
        self._statuses: _Object = {}
        self._gone = asyncio.Event()
        self.page = tools.publisher.open(pod, self._status)

    def close(self, keys: frozenset[DeviceKey]) -> None:
        """These devices serve another pod: what is found from now on is not this one's."""
        self._closed |= keys

    async def remember(self) -> None:
        left = tuple(place for place in self._held if place.key not in self._closed)
        await self._tools.memory.keep(self.pod.metadata.uid, left)

    def observe(self, pod: RunnablePod) -> None:
        self.pod = pod

    def forget(self) -> None:
        self._gone.set()

    def log_file(self, container: str, previous: bool) -> tuple[Path, bool]:
        raise NotFound(
            f'container "{container}" in pod "{self.pod.metadata.name}": its log went with the kubelet', status=404, reason="NotFound"
        )

    async def run(self) -> None:
        try:
            now = self._clock.now()
            until = now + (ended_at(self.pod) or 0.0) + POST_MORTEM_WINDOW - self._clock.wall()
            if until > now and await self._read():
                self.page.changed()
                await set_by(self._gone, self._clock, until)
            await self._tools.memory.drop(self.pod.metadata.uid)
        finally:
            self.page.close()

    async def _read(self) -> bool:
        """What stands on the pod, whole: a status is written with all that its containers have."""
        while not self._gone.is_set():
            try:
                meta = self.pod.metadata
                found = await self._tools.client.get(RUNNABLE_PODS.untyped(), meta.name, meta.namespace)
            except NotFound:
                return False
            except PodvitalsError:
                await set_by(self._gone, self._clock, self._clock.now() + RETRY)
            else:
                self._statuses = found["status"]
                return True
        return False

    def _status(self) -> dict[str, Any]:
        for key in self.keys - self._closed - self._late.keys():
            if (state := self._tools.drivers.state(key)).health is Health.UNHEALTHY:
                self._late[key] = state
        return {kind: [self._container(each) for each in self._statuses[kind]] for kind in _STATUSES if self._statuses.get(kind)}

    def _container(self, status: _Object) -> _Object:
        if "allocatedResourcesStatus" not in status:
            return status
        entries = [
            {**entry, "resources": self._resources(status["name"], entry["name"], entry.get("resources", ()))}
            for entry in status["allocatedResourcesStatus"]
        ]
        return {**status, "allocatedResourcesStatus": entries}

    def _resources(self, container: str, entry: str, resources: Sequence[_Object]) -> list[_Object]:
        there = [place for place in self._held if (place.container, place.entry) == (container, entry)]
        return [self._resource(each, [place.key for place in there if place.shown_as(each["resourceID"])]) for each in resources]

    def _resource(self, resource: _Object, keys: Sequence[DeviceKey]) -> _Object:
        """`keys`: the devices it may mean; an entry never names two alike, but where a CDI id is shared each goes by its own name."""
        late = next((self._late[key] for key in keys if key in self._late), None)
        if late is None or len(keys) != 1 or resource.get("health") == Health.UNHEALTHY.value:
            return resource
        messages = self._tools.gates.resource_health_status_message
        said = {"message": clean(late.message)} if messages and late.message else {}
        return {"resourceID": resource["resourceID"], "health": late.health.value, **said}
