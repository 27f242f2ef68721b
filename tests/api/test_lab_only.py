"""What the real server does too, but cannot be made to do within a test: it forgets after minutes, or thousands of changes.

Heard from kube-apiserver 1.37.2 once it had run for a while: HTTP 200, then an ERROR event with code 410, reason Expired and this text.
"""

import pytest

from podvitals.errors import Gone
from podvitals.kube.resources import PODS
from tests.api.subject import Subject


async def test_a_version_that_is_too_old_is_gone(subject: Subject) -> None:
    async with subject.watching(PODS, resource_version="1") as seen:
        with pytest.raises(Gone, match="too old resource version: 1") as caught:
            await seen.any()
    assert (caught.value.status, caught.value.reason) == (410, "Expired")
