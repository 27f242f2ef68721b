"""Which of the registration sockets that are there are followed. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

FIRST_TOGETHER, A_SECOND = 256, 20.0
"""Sockets that are taken up at once, and then each second: whoever makes and removes thousands of them is not followed that fast."""
TRIAL = 5.0
"""Seconds a socket has to show that a driver is behind it before its place may go to another one."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A registration socket. `identity` tells it from another at the same path; `born` orders sockets (ns); `owner`: its user."""

    path: str
    identity: tuple[int, int, int]
    born: int
    owner: int = 0

    @property
    def age(self) -> tuple[int, int, str]:
        """Oldest first. Of sockets made within one tick of the kernel's clock (4 ms) the inode tells mostly."""
        return self.born, self.identity[1], self.path


class Choice:
    """Those behind which a driver has shown itself keep their places. The others have theirs on trial: where more want one, the places go
    round, those that waited longest first, but before them whoever was a driver before, and restarts. What was made first comes first, so
    that one who floods the directory queues behind those who were there."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tried: dict[str, float] = {}
        self._drivers: dict[str, None] = {}
        self._allowed, self._counted = float(FIRST_TOGETHER), -math.inf
        self.waiting = 0

    def choose(
        self, there: Iterable[Socket], followed: Mapping[str, Socket], is_driver: Callable[[Socket], bool], now: float
    ) -> tuple[list[Socket], list[Socket]]:
        """Of what is `there`: those to take up, oldest first, and those of `followed` to give up for them."""
        if self._counted > -math.inf:
            self._allowed = min(float(FIRST_TOGETHER), self._allowed + A_SECOND * (now - self._counted))
        self._counted = now
        self._remember(one.path for one in followed.values() if is_driver(one))
        new = [one for one in there if one.path not in followed]
        paths = {one.path for one in new}
        self._tried = {path: at for path, at in self._tried.items() if path in paths or path in followed}
        new.sort(key=lambda one: (one.path not in self._drivers, self._tried.get(one.path, -math.inf), one.age))
        wanted = min(len(new), int(self._allowed))
        idle = [one for one in followed.values() if not is_driver(one) and now - self._tried.get(one.path, now) >= TRIAL]
        idle.sort(key=lambda one: (self._tried[one.path], one.path))
        give_up = idle[: max(0, wanted - (self._most - len(followed)))]
        take = new[: min(wanted, self._most - len(followed) + len(give_up))]
        self._allowed -= len(take)
        self._tried.update((one.path, now) for one in take)
        self.waiting = len(new) - len(take) + len(give_up)
        return sorted(take, key=lambda one: one.age), give_up

    def _remember(self, drivers: Iterable[str]) -> None:
        self._drivers.update(dict.fromkeys(drivers))
        while len(self._drivers) > self._most:
            del self._drivers[next(iter(self._drivers))]
