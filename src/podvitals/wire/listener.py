"""A listening Unix socket: its file and the connections accepted from it.

asyncio's own server is not used: in 3.11 it leaves the file behind, from 3.13 on it removes it, and a connection accepted while it closes
is leaked. Here the file goes when the owner says so, and only if it is still this socket's.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from podvitals.errors import LocalError, SocketTaken
from podvitals.threads import finished
from podvitals.wire.endpoint import identity, is_live
from podvitals.wire.http2 import Connection
from podvitals.wire.stream import Stream

log = logging.getLogger(__name__)

_BACKLOG = 100
_PAUSE = 1.0
"""Seconds without accepting after the process ran out of file descriptors."""


class Listener:
    def __init__(self, path: Path, on_request: Callable[[Stream], None]) -> None:
        self.path = path
        self._on_request = on_request
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._connections: set[Connection] = set()
        self._accepting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None

    async def open(self, listening: socket.socket | None = None) -> socket.socket:
        """Listens, with the socket given where one is, and returns the one it listens with. A dead process's socket is taken over;
        SocketTaken for a live one's, LocalError if none can be made there."""
        if listening is None:
            made, self._identity = await finished(asyncio.to_thread(_listen, self.path), lambda given_up: _undone(self.path, *given_up))
        else:
            made, self._identity = listening, await asyncio.to_thread(identity, self.path)
        made.setblocking(False)
        self._socket = made
        self._go_on()
        return made

    async def unlink(self) -> None:
        """Removes the file, if it is still this socket's."""
        if self._identity is not None:
            await asyncio.to_thread(_unlink, self.path, self._identity)

    def shut(self) -> None:
        """Takes no more connections."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    async def drop(self, how: Callable[[Connection], Awaitable[None]]) -> None:
        """Ends every connection by `how`: Connection.close or Connection.abort."""
        if self._accepting:
            await asyncio.wait(self._accepting)
        while self._connections:
            await how(self._connections.pop())

    def _go_on(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        for _ in range(_BACKLOG):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("%s takes no connection for %g s: %s", self.path, _PAUSE, error)  # most likely EMFILE
                loop.remove_reader(self._socket.fileno())
                self._pause = loop.call_later(_PAUSE, self._go_on)
                return
            accepted.setblocking(False)
            task: asyncio.Task[object] = loop.create_task(
                loop.connect_accepted_socket(self._connection, accepted), name=f"connection accepted on {self.path}"
            )
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _connection(self) -> Connection:
        connection = Connection(on_request=self._on_request, on_lost=self._connections.discard)
        self._connections.add(connection)
        return connection


def _listen(path: Path) -> tuple[socket.socket, tuple[int, int] | None]:
    """A listening socket of mode 0600 and what identifies its file. Blocks."""
    if is_live(path):
        raise SocketTaken(f"another process listens on {path}: stop it, or give this one another name or directory")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock.bind(os.fspath(path))
        # Before listen(), so that nobody connects under the umask's mode; and listen() here, at once, because a kubelet dials as soon as
        # it sees the file.
        os.chmod(path, 0o600)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise LocalError(f"cannot make socket {path}: {os.strerror(error.errno or 0)}: the directory must exist and be writable") from None
    return sock, identity(path)


def _undone(path: Path, sock: socket.socket, ours: tuple[int, int] | None) -> None:
    if ours is not None:
        _unlink(path, ours)
    sock.close()


def _unlink(path: Path, ours: tuple[int, int]) -> None:
    # While our socket is open its inode number is not given to another file.
    if identity(path) == ours:
        with contextlib.suppress(OSError):
            os.unlink(path)
