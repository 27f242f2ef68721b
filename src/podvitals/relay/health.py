"""The health service of a driver's stand-ins: any number of watchers, each told from the newest state at its own pace.

Nothing is queued: while a watcher is slow, its changes gather as keys. When one goes, the others are told the whole state again, since the
kubelet clears what it knows of a driver when any of its streams ends (CONTRACT §5).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from podvitals.clock import Clock, set_by
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.relay.herald import Herald
from podvitals.wire.convert import encode_report


class _Watcher:
    __slots__ = ("changed", "herald", "news")

    def __init__(self, herald: Herald) -> None:
        self.herald = herald
        self.changed: set[DeviceKey] = set()
        self.news = asyncio.Event()


class Health:
    """A `podvitals.wire.server.HealthHandler`. `keys`: the driver's devices of which something is known."""

    def __init__(self, keys: Callable[[], Iterable[DeviceKey]], state_of: Callable[[DeviceKey], DeviceState], clock: Clock) -> None:
        self._keys, self._state_of, self._clock = keys, state_of, clock
        self._watchers: set[_Watcher] = set()

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def change(self, keys: Iterable[DeviceKey]) -> None:
        """These devices of the driver have another state."""
        for watcher in self._watchers:
            watcher.changed.update(keys)
            watcher.news.set()

    def retell(self) -> None:
        """Another stream of the kubelet's has ended, whose ever it was: every watcher is told the whole state again."""
        for watcher in self._watchers:
            watcher.herald.retell()
            watcher.news.set()

    async def watch(self) -> AsyncGenerator[bytes, None]:
        watcher = _Watcher(Herald(self._keys, self._state_of))
        self._watchers.add(watcher)
        try:
            while True:
                watcher.news.clear()
                changed, watcher.changed = watcher.changed, set()
                reports = watcher.herald.due(changed, self._clock.now())
                for raw in encode_report(reports) if reports is not None else ():
                    yield raw
                await set_by(watcher.news, self._clock, watcher.herald.next_look())
        finally:
            self._watchers.discard(watcher)
            self.retell()
