"""A server and a plain client for each test."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from podvitals.lab.api import ApiServer
from tests.lab.api.plain import SECONDS, Plain


@pytest.fixture
async def api() -> AsyncIterator[Plain]:
    async with ApiServer() as server, aiohttp.ClientSession(timeout=SECONDS) as session:
        yield Plain(server, session)
