"""The relay's process, and asking it: what of `podvitals relay` needs an event loop."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from podvitals import __version__
from podvitals.agent.listen import Answers, Listener
from podvitals.cli.asking import state_at
from podvitals.cli.ending import until_told
from podvitals.errors import LocalError, SocketTaken
from podvitals.relay.run import Relay, RelaySettings
from podvitals.relay.state import metrics

log = logging.getLogger(__name__)

_SOCKET = "relay.sock"
HAND_OVER_LOOK = 0.25
"""Seconds between two looks whether the relay before this one has ended."""


def serve(settings: RelaySettings, address: tuple[str, int] | None) -> None:
    """Until SIGTERM or Ctrl-C. `address`: where it can be asked, beside its socket."""
    asyncio.run(_serve(settings, address))


def ask(run_dir: Path) -> bytes:
    """What the relay that runs there says of itself. LocalError where none answers."""
    return asyncio.run(_ask(run_dir / _SOCKET))


async def _serve(settings: RelaySettings, address: tuple[str, int] | None) -> None:
    relay = Relay(settings)

    async def scrape() -> bytes:
        return metrics(relay.state())

    await relay.prepare()
    log.info("relay begins", extra={"version": __version__, "plugin_dir": settings.plugin_dir, "kubelet_dir": settings.kubelet_dir})
    listener = Listener(Answers(lambda: msgspec.json.encode(relay.state()), scrape, relay.waiting), settings.run_dir / _SOCKET, address)
    listening = asyncio.create_task(listen(listener, relay.retell), name="relay: where it can be asked")
    running = asyncio.create_task(relay.run(), name="relay")
    # What keeps it from listening, for good, ends it: nobody could see how it is.
    listening.add_done_callback(lambda done: running.cancel() if not done.cancelled() and done.exception() else None)
    try:
        await until_told(running)
    finally:
        if listening.done() and not listening.cancelled():
            listening.result()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await listener.stop()
        log.info("relay ended")


async def listen(listener: Listener, alone: Callable[[], None]) -> None:
    """When the socket is free: a relay that takes over from another begins before that one has ended. `alone`: called when it has."""
    said = False
    while True:
        try:
            await listener.start()
        except SocketTaken:
            if not said:
                log.info("another relay runs here: taking over from it, and to be asked when it has ended")
            said = True
            await asyncio.sleep(HAND_OVER_LOOK)
        else:
            if said:
                alone()
            return


async def _ask(path: Path) -> bytes:
    try:
        async with asyncio.timeout(5.0):
            return await state_at(str(path))
    except TimeoutError:
        raise LocalError(f"the relay at {path} does not answer: it hangs; see its log, or restart it") from None
    except OSError as error:
        why = error.strerror or error
        raise LocalError(f"no relay answers at {path}: {why}; is it running, and with this --run-dir?") from None
