"""Holds the listening sockets of a relay while it lives, so that they are still there when it was killed.

    python -I -S keeper.py SOCKET          (podvitals relay keep)

Whoever dials a socket whose relay is gone then waits in its backlog instead of being refused, and the next relay, which is given the
sockets, serves it. This imports nothing of podvitals and does nothing else, so that it takes four megabytes and has no reason to end.

Over SOCKET (a Unix socket of whole messages) a relay says, each in one message, its sockets beside it:
    keep NAME TEXT    two sockets, held under this name for as long as this relay is connected, and LONGEST seconds more
    forget NAME       they are closed already, or will be
    take              answered by `kept NAME TEXT` with its sockets, for each that lost its relay, and `end`; they are this relay's now
The words are divided by line ends.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time

LONGEST = 40.0
"""Seconds that sockets are held without a relay: as long as calls are held without a driver."""
MOST, LARGEST = 256, 32 * 1024
_AGAIN = 1.0


class Held:
    """`owner`: the connection of the relay that serves on these sockets; None: it is gone, `since`."""

    def __init__(self, owner: socket.socket | None, text: bytes, sockets: list[int]) -> None:
        self.owner, self.text, self.sockets = owner, text, sockets
        self.since = 0.0

    def close(self) -> None:
        for number in self.sockets:
            os.close(number)


class Keeper:
    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.relays: list[socket.socket] = []
        self.held: dict[bytes, Held] = {}

    def run(self) -> None:
        while True:
            self.turn(None if all(held.owner for held in self.held.values()) else _AGAIN)

    def turn(self, timeout: float | None) -> None:
        """Waits for what comes, at most so long, and sees to it."""
        for ready in select.select([self.listening, *self.relays], [], [], timeout)[0]:
            if ready is self.listening:
                self.relays.append(self.listening.accept()[0])
            else:
                self.hear(ready)
        for name in [name for name, held in self.held.items() if held.owner is None and time.monotonic() - held.since > LONGEST]:
            self.held.pop(name).close()

    def hear(self, relay: socket.socket) -> None:
        numbers: list[int] = []
        try:
            message, numbers, _, _ = socket.recv_fds(relay, LARGEST, 2)
            if not message:
                raise ConnectionResetError
            self.obey(relay, message, numbers)
        except OSError:
            self.lost(relay)
        for number in numbers:
            os.close(number)

    def obey(self, relay: socket.socket, message: bytes, numbers: list[int]) -> None:
        """Takes those of `numbers` that it keeps."""
        word, _, rest = message.partition(b"\n")
        name, _, text = rest.partition(b"\n")
        if word == b"keep" and len(numbers) == 2 and len(self.held) < MOST:
            self.drop(name)
            self.held[name] = Held(relay, text, numbers[:])
            numbers.clear()
        elif word == b"forget":
            self.drop(name)
        elif word == b"take":
            for name, held in self.held.items():
                if held.owner is None:
                    socket.send_fds(relay, [b"kept\n%s\n%s" % (name, held.text)], held.sockets, socket.MSG_DONTWAIT)
                    held.owner = relay
            relay.send(b"end", socket.MSG_DONTWAIT)

    def drop(self, name: bytes) -> None:
        if (held := self.held.pop(name, None)) is not None:
            held.close()

    def lost(self, relay: socket.socket) -> None:
        relay.close()
        self.relays.remove(relay)
        for held in self.held.values():
            if held.owner is relay:
                held.owner, held.since = None, time.monotonic()


def listen(path: str) -> socket.socket:
    """When no other keeper listens there: that of a relay which is about to be replaced goes with it."""
    said = False
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(path):
                break
        if not said:
            sys.stderr.write(f"another keeper listens at {path}: waiting until it ends\n")
        said = True
        time.sleep(_AGAIN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.umask(0o177)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen(16)
    sys.stderr.write(f"holding the relay's sockets, to be asked at {path}\n")
    return listening


if __name__ == "__main__":
    # As the first process of a container it would not be ended by it otherwise.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        Keeper(listen(sys.argv[1])).run()
