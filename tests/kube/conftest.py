"""The scripted API server and a client for it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from podvitals.kube.client import Client
from tests.kube.fake import FakeApi, fake_api


@pytest_asyncio.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as served:
        yield served


@pytest_asyncio.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with Client(api.config(), timeout=5.0) as opened:
        yield opened
