"""The way round the relay: a driver's own registration, put where the kubelet looks.

For the day the relay itself is the trouble. It works while the relay runs, hangs or is gone, and needs nothing else of podvitals: a link to
the driver's registration socket appears in the kubelet's directory, and a mark that survives restarts keeps a relay from standing in for
it again. A relay that runs keeps the links right when drivers restart; without one, say it again after a driver's restart.

A hard link where both directories are one file system, since other observers of the kubelet's directory (our agent among them) look at
sockets alone; else a symbolic one, which the kubelet follows.
"""

import asyncio
import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podvitals.device.key import check_driver_name
from podvitals.errors import LocalError, PluginError, PodvitalsError
from podvitals.node.discovery import scan
from podvitals.relay.places import Places
from podvitals.wire.client import PluginClient
from podvitals.wire.endpoint import is_live
from podvitals.wire.messages import PLUGIN_TYPE

_MARK = "-direct-"
_SUFFIX = "-reg.sock"


@dataclass(frozen=True, slots=True)
class Registered:
    """A driver's live registration socket."""

    driver: str
    path: Path


class Bypass:
    """Everything here blocks, but for `registered`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._marks = places.run_dir / "bypass"

    def marked(self) -> frozenset[str]:
        """The drivers the relay is not to stand in for."""
        with suppress(OSError):
            return frozenset(entry.name for entry in os.scandir(self._marks) if not entry.name.startswith("."))
        return frozenset()

    def mark(self, drivers: Iterable[str]) -> None:
        try:
            self._marks.mkdir(parents=True, exist_ok=True, mode=0o700)
            for driver in drivers:
                (self._marks / check_driver_name(driver)).touch()
        except OSError as error:
            raise LocalError(f"cannot write {self._marks}: {error.strerror}: run as root, with the relay's --run-dir") from None

    def unmark(self, drivers: Iterable[str]) -> None:
        for driver in drivers:
            (self._marks / check_driver_name(driver)).unlink(missing_ok=True)

    def link(self, registered: Registered) -> Path | None:
        """Shows this registration to the kubelet; the link, or None where there is one already."""
        facts = registered.path.lstat()
        for known in self.links(registered.driver):
            with suppress(OSError):
                found = known.stat()
                if (found.st_dev, found.st_ino) == (facts.st_dev, facts.st_ino):
                    return None
        link = self._places.named(registered.driver, _MARK)
        try:
            try:
                os.link(registered.path, link)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM):
                    raise
                link.symlink_to(registered.path.absolute())
        except OSError as error:
            raise LocalError(f"cannot link {registered.path} into {link.parent}: {error.strerror}: run as root") from None
        return link

    def unlink(self, driver: str, *, dead: bool = False) -> int:
        """Takes its links away, or with `dead` only those whose socket nobody listens at; how many."""
        gone = 0
        for link in self.links(driver):
            with suppress(OSError, LocalError):
                if not dead or not is_live(link):
                    link.unlink()
                    gone += 1
        return gone

    def unlink_all(self, drivers: Iterable[str]) -> None:
        """Takes the links of these drivers away. Where there is none at all, as nearly always, that is one look."""
        with suppress(OSError):
            if any(_MARK in name for name in os.listdir(self._places.kubelet_dir)):
                for driver in drivers:
                    self.unlink(driver)

    def links(self, driver: str) -> list[Path]:
        return sorted(self._places.kubelet_dir.glob(f"{self._places.short(driver)}{_MARK}*{_SUFFIX}"))


async def registered(plugin_dir: Path, timeout: float = 2.0) -> list[Registered]:
    """The drivers that are registered in `plugin_dir` and answer."""

    async def ask(path: str) -> Registered | None:
        try:
            async with PluginClient(path, connect_timeout=timeout) as client:
                info = await client.get_info(timeout)
                return Registered(check_driver_name(info.name), Path(path)) if info.type == PLUGIN_TYPE else None
        except (PluginError, PodvitalsError):
            return None

    found = await asyncio.to_thread(scan, plugin_dir)
    if found.missing:
        raise LocalError(f"plugin directory {plugin_dir}: {found.missing}: is --plugin-dir the relay's?")
    answers = await asyncio.gather(*(ask(socket.path) for socket in found.sockets))
    return [answer for answer in answers if answer is not None]
