"""What of a relay outlives it: its stand-ins' listening sockets, held by a keeper (`keeper`) where one runs.

A relay that was killed left sockets that nobody listened at: a prepare in the second until it was back failed, and a failed one costs its
pod 60 to 90 s. With a keeper the kubelet's dial waits for the next relay, which serves on the old sockets until new ones are registered.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podvitals.clock import Clock
from podvitals.relay.places import Sockets
from podvitals.threads import finished

log = logging.getLogger(__name__)

NAME = "keeper.sock"
LOOK_EVERY = 2.0
"""Seconds between two looks for a keeper."""
_LARGEST = 32 * 1024
_TIMEOUT = 2.0


class Kept(msgspec.Struct, frozen=True):
    """A stand-in, as it is told to the keeper."""

    driver: str
    versions: tuple[str, ...]
    registration: str
    endpoint: str

    @property
    def sockets(self) -> Sockets:
        return Sockets(Path(self.registration), Path(self.endpoint))


@dataclass(frozen=True, slots=True)
class Left:
    """What a relay that is gone has left: a stand-in and the two sockets it listened with."""

    kept: Kept
    registration: socket.socket
    endpoint: socket.socket

    def discard(self) -> None:
        """Nobody is to serve on it. Blocks."""
        for sock, path in ((self.registration, self.kept.registration), (self.endpoint, self.kept.endpoint)):
            with suppress(OSError):
                os.unlink(path)
            sock.close()


class Keeping:
    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._path, self._clock = run_dir / NAME, clock
        self._keeper: socket.socket | None = None
        self._ours: dict[str, Left] = {}

    @property
    def kept(self) -> bool:
        """Whether a keeper is there."""
        return self._keeper is not None

    async def take(self) -> list[Left]:
        """What relays before this one have left. Empty where no keeper runs."""
        left = await finished(asyncio.to_thread(self._take), _leave)
        if self._keeper is not None:
            self._keeper.setblocking(False)
        return left

    async def run(self) -> None:
        """Finds a keeper, and finds another when it is gone."""
        while True:
            if self._keeper is None and (keeper := await finished(asyncio.to_thread(self._connect), _hang_up)) is not None:
                keeper.setblocking(False)
                self._keeper = keeper
                for left in self._ours.values():
                    self._say(b"keep", left)
            await self._clock.sleep_until(self._clock.now() + LOOK_EVERY)
            if self._keeper is not None and self._gone():
                self._lose("it ended")

    def keep(self, left: Left) -> None:
        """From now on, until `forget`."""
        self._ours[left.kept.endpoint] = left
        self._say(b"keep", left)

    def forget(self, kept: Kept) -> None:
        if (left := self._ours.pop(kept.endpoint, None)) is not None:
            self._say(b"forget", left)

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _say(self, word: bytes, left: Left) -> None:
        if self._keeper is None:
            return
        text = b"%s\n%s\n%s" % (word, left.kept.endpoint.encode(), msgspec.json.encode(left.kept))
        try:
            if word == b"keep":
                socket.send_fds(self._keeper, [text], [left.registration.fileno(), left.endpoint.fileno()])
            else:
                self._keeper.send(text)
        except OSError as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        log.warning("the keeper is gone: looking for another", extra={"reason": why})
        self.close()

    def _gone(self) -> bool:
        assert self._keeper is not None
        try:
            return not self._keeper.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _connect(self) -> socket.socket | None:
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper.settimeout(_TIMEOUT)  # of a keeper that is stopped: it must not stop us
        try:
            keeper.connect(str(self._path))
        except OSError:
            keeper.close()
            return None
        log.info("a keeper holds the sockets", extra={"socket": str(self._path)})
        return keeper

    def _take(self) -> list[Left]:
        left: list[Left] = []
        keeper = self._keeper = self._connect()
        if keeper is None:
            return left
        try:
            keeper.send(b"take")
            while (answer := socket.recv_fds(keeper, _LARGEST, 2))[0].startswith(b"kept\n"):
                sockets = [socket.socket(fileno=number) for number in answer[1]]
                kept = msgspec.json.decode(answer[0].split(b"\n", 2)[2], type=Kept)
                left.append(Left(kept, *sockets))
        except (OSError, ValueError, TypeError) as error:  # TypeError: not two sockets
            self._lose(str(error))
        return left


def _hang_up(keeper: socket.socket | None) -> None:
    if keeper is not None:
        keeper.close()


def _leave(left: list[Left]) -> None:
    """To the keeper, which has them still, and to the next relay."""
    for one in left:
        one.registration.close()
        one.endpoint.close()
