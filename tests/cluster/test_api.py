"""The suite of tests/api on the real kube-apiserver: what the lab's server promises is what this one does."""

from collections.abc import AsyncIterator

import pytest_asyncio

from podvitals.kube.client import Client
from tests.api.subject import Subject, subject_on
from tests.api.test_ephemeral import *  # noqa: F403
from tests.api.test_events import *  # noqa: F403
from tests.api.test_listing import *  # noqa: F403
from tests.api.test_status import *  # noqa: F403
from tests.api.test_watching import *  # noqa: F403
from tests.api.test_writing import *  # noqa: F403
from tests.cluster.releases import Shown, needs

needs(Shown.MESSAGE)(test_a_kubelet_s_field_is_kept_with_its_messages)  # noqa: F405


@pytest_asyncio.fixture
async def subject(client: Client) -> AsyncIterator[Subject]:
    async with subject_on(client) as made:
        yield made
