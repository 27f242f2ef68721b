"""A server and a plain client for each test."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from podvitals.lab.api import ApiServer
from tests.lab.api.plain import Plain


@pytest.fixture
async def api() -> AsyncIterator[Plain]:
    async with asyncio.timeout(20), ApiServer() as server, aiohttp.ClientSession() as session:
        yield Plain(server, session)
