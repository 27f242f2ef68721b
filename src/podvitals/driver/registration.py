"""Registration with the kubelet: who we are, where we listen, what we serve."""

import asyncio
import logging

from podvitals.wire.messages import ALL_VERSIONS, PLUGIN_TYPE, PluginInfo

log = logging.getLogger("podvitals.driver")


def driver_info(driver: str, endpoint: str) -> PluginInfo:
    """Both versions of both services are listed: each kubelet takes the newest it knows."""
    return PluginInfo(PLUGIN_TYPE, driver, endpoint, ALL_VERSIONS)


class Registration:
    """A `podvitals.wire.server.RegistrationHandler`."""

    def __init__(self, info: PluginInfo) -> None:
        self._info = info
        self.registered = asyncio.Event()

    async def get_info(self) -> PluginInfo:
        return self._info

    async def notify_registration(self, registered: bool, error: str) -> None:
        if registered:
            log.info("registered driver=%s endpoint=%s", self._info.name, self._info.endpoint)
            self.registered.set()
        else:
            # The kubelet tries again by itself when the socket is made anew; what it says is all an operator needs.
            log.error("the kubelet refused driver=%s: %s", self._info.name, error)
            self.registered.clear()
