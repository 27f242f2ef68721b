"""A stream of bytes cut at line ends, whatever the chunks and however long the lines. Pure."""

from podvitals.errors import ServerFault

LONGEST = 32 * 1024 * 1024
"""Bytes of one line; etcd's objects end at 1.5 MB, and a few times that is generous."""


class Lines:
    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends; empty ones are left out. A line's cost is its length, however it is cut."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._parts, whole[0]))
            self._parts.clear()
            self._held = 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
            if self._held > self._longest:
                raise ServerFault(f"the Kubernetes API sent a line of more than {self._longest} bytes", reason="Unreadable")
        return [line for line in whole if line.strip()]
