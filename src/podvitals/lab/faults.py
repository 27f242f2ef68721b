"""The device of the story, which really breaks: a network link whose far end goes down, or, where none can be made, a device file that
disappears.

A driver sees the first through rtnetlink, the second through inotify; the container sees either in /sys or in the file system.
"""

import contextlib
import errno
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from podvitals.errors import InvalidInput
from podvitals.lab import netlink

Choice = Literal["auto", "veth", "file"]
LINKS = tuple(f"rail{number}" for number in range(100))
"""Names for the interface, the first that is free."""
FAR_END = "-far"


class Breakable(Protocol):
    """`break_it` and `mend` return as soon as the kernel has done it. All of it blocks."""

    @property
    def device(self) -> str:
        """The name its driver gives it."""

    @property
    def detector(self) -> str:
        """The detector that finds it, as `podvitals driver --detector` takes it."""

    @property
    def kind(self) -> str: ...

    @property
    def breaks(self) -> str:
        """What happens when it breaks, in the words of the story; `mends` likewise."""

    @property
    def mends(self) -> str: ...

    @property
    def break_line(self) -> str:
        """The command with which a person does the same; `mend_line` likewise."""

    @property
    def mend_line(self) -> str: ...

    def make(self) -> None: ...

    def break_it(self) -> None: ...

    def mend(self) -> None: ...

    def remove(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair: `device` is the near end, which the pod is given; its far end stands for the switch at the other end of the cable."""

    device: str
    alias: str

    @property
    def far(self) -> str:
        return self.device + FAR_END

    @property
    def kind(self) -> str:
        return "a network link"

    @property
    def detector(self) -> str:
        return f"net:{self.device}"

    @property
    def breaks(self) -> str:
        return f"The far end of link {self.device} goes down, as when somebody pulls its cable"

    @property
    def mends(self) -> str:
        return f"Link {self.device} is whole again"

    @property
    def break_line(self) -> str:
        return f"ip link set {self.far} down"

    @property
    def mend_line(self) -> str:
        return f"ip link set {self.far} up"

    def make(self) -> None:
        netlink.make_veth(self.device, self.far, self.alias)

    def break_it(self) -> None:
        netlink.set_link(self.far, up=False)

    def mend(self) -> None:
        netlink.set_link(self.far, up=True)

    def remove(self) -> None:
        """Only what carries the lab's alias: another program may have taken the name meanwhile."""
        for end in (self.device, self.far):
            if netlink.alias_of(end) == self.alias:
                netlink.remove_link(end)


@dataclass(frozen=True, slots=True)
class DeviceFile:
    path: Path

    @property
    def kind(self) -> str:
        return "a device file"

    @property
    def breaks(self) -> str:
        return f"Device file {self.path.name} disappears, as when a PCI device falls off the bus"

    @property
    def mends(self) -> str:
        return f"Device file {self.path.name} is back"

    @property
    def device(self) -> str:
        return self.path.name

    @property
    def detector(self) -> str:
        return f"files:{self.path}"

    @property
    def break_line(self) -> str:
        return f"rm {shlex.quote(str(self.path))}"

    @property
    def mend_line(self) -> str:
        return f"touch {shlex.quote(str(self.path))}"

    def make(self) -> None:
        self.path.touch(0o600)

    def break_it(self) -> None:
        self.path.unlink(missing_ok=True)

    def mend(self) -> None:
        self.path.touch(0o600)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def free_links() -> Iterator[str]:
    """Names for a pair that no interface of this machine has now."""
    for name in LINKS:
        if not netlink.exists(name) and not netlink.exists(name + FAR_END):
            yield name


def impossible(refusal: netlink.NetlinkRefused) -> bool:
    """Whether this machine or user cannot make a veth pair at all, so that a file serves instead."""
    return refusal.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOSYS)


def parse_choice(text: str) -> Choice:
    match text:
        case "auto" | "veth" | "file":
            return text
    raise InvalidInput(f"device {text!r} is none of auto, veth and file")
