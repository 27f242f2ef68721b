"""The API server's clock, and how long it wants to be left alone."""

import pytest

from podvitals.kube.answer import LONGEST_ASKED, retry_after
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import PODS
from podvitals.lab.api import ApiServer
from podvitals.testing import ManualClock

DATE = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("7", None, 7.0),
        ("Mon, 23 Nov 2026 12:00:09 GMT", DATE, 9.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", DATE, 0.0),
        ("Mon, 23 Nov 2026 12:00:09 GMT", None, 0.0),
        ("Mon, 23 Nov 2026 19:00:00 GMT", DATE, LONGEST_ASKED),
        ("86400", DATE, LONGEST_ASKED),
        ("9" * 400, DATE, LONGEST_ASKED),
        ("soon", DATE, 0.0),
        ("-5", DATE, 0.0),
        (None, DATE, 0.0),
    ],
)
def test_a_retry_after_is_read_as_seconds_or_as_a_date_by_the_servers_own_clock(header: str | None, date: str, seconds: float) -> None:
    assert retry_after(header, date) == seconds


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_wall_clock_that_is_stepped_here_does_not_move_the_servers(step: float) -> None:
    theirs, ours = ManualClock(), ManualClock(now=77.0)
    async with ApiServer(clock=theirs) as api, Client(ClusterConfig(api.url), clock=ours) as client:
        await client.list(PODS, "default")
        ours.set_wall(ours.wall() + step)
        assert client.wall() == pytest.approx(theirs.wall(), abs=2)
        await ours.advance(100)
        assert client.wall() == pytest.approx(theirs.wall() + 100, abs=2)
