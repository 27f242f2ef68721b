"""A scripted driver in a process of its own: what a signal can be sent to, and what may say more than this library sends."""

import asyncio
import signal
import sys
import time
from base64 import b64encode
from contextlib import suppress

from podvitals.testing.conformance import alone
from podvitals.testing.conformance.node.puppet import REGISTERED_WITHIN, Puppet


class Apart(Puppet):
    """A puppet whose words come from another process. Its only device is d0."""

    _process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        where = [str(self.registration_path), str(self.endpoint), self.name, self.pool]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", alone.__name__, *where, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(REGISTERED_WITHIN):
                registered = await self._process.stdout.readline()
        except TimeoutError:
            registered = b""
        if not registered:
            raise self.unregistered()

    def send(self, raw: bytes) -> float:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b64encode(raw) + b"\n")
        self.sent_at = time.monotonic()
        return self.sent_at

    def halt(self) -> None:
        """SIGSTOP: every socket stays open and takes connections, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        self.hush()
        if self._process is not None:
            self.go_on()
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(5.0):
                    await self._process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()

    async def crash(self) -> None:
        self.hush()
        if self._process is not None:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
