"""Where a driver that serves can be asked: /metrics of its devices and rules, /state, /healthz and /readyz."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from podvitals.agent.listen import Answers, Listener
from podvitals.cli.check_page import document
from podvitals.cli.checking import Look
from podvitals.detect.detector import Detector
from podvitals.detect.exposition import exposition
from podvitals.detect.rules.rule import Rules
from podvitals.detect.schedule import Schedule
from podvitals.driver.plugin import Beside


def asked_at(address: tuple[str, int], detectors: Sequence[Detector], rules: Rules) -> Beside:
    """What goes beside a driver, so that it answers there."""

    @asynccontextmanager
    async def beside(schedule: Schedule) -> AsyncIterator[Listener]:
        look = Look(schedule, detectors, rules, {})

        async def metrics() -> bytes:
            return exposition(look.findings(), rules).encode()

        def state() -> bytes:
            return json.dumps(document(look.findings(), (), {})).encode()

        listener = Listener(Answers(state, metrics, lambda: _waiting(schedule)), None, address)
        await listener.start()
        try:
            yield listener
        finally:
            await listener.stop()

    return beside


def _waiting(schedule: Schedule) -> tuple[str, ...]:
    unread = schedule.devices.keys() - schedule.verdicts.keys()
    return (*schedule.failures, *(f"the first reading of {name}" for name in sorted(unread)))
