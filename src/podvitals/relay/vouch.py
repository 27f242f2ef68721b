"""Vouches for drivers that say only what changes: asks whether they live, and takes what they said last as said again.

Such a driver decays to Unknown although nothing is wrong with it (CONTRACT §5), and nobody may re-send on behalf of one whose monitor may
be wedged; so this is done for the drivers an operator names, who knows them. The question is a prepare of no claims, which the contract
makes a probe; a driver that hangs does not answer it, and its leases end as any other's.
"""

import asyncio
import logging
from collections.abc import Iterable

from podvitals.clock import Clock
from podvitals.errors import PluginError
from podvitals.node.watch import NodeWatch

log = logging.getLogger(__name__)

EVERY = 0.8
"""Seconds between two questions: the shortest lease is one second."""
PATIENCE = 5.0


async def vouch(driver: str, node: NodeWatch, clock: Clock, every: float = EVERY) -> None:
    """Until cancelled."""
    answers = True
    while True:
        plugin = node.plugin(driver)
        if plugin is not None:
            client, version = plugin
            try:
                await client.prepare(version, (), timeout=PATIENCE)
            except PluginError as error:
                if answers:
                    log.warning("does not answer: its devices' leases run out", extra={"driver": driver, "reason": str(error)})
                answers = False
            else:
                node.vouch(driver)
                if not answers:
                    log.info("answers again", extra={"driver": driver})
                answers = True
        await clock.sleep_until(clock.now() + every)


async def vouch_for_all(drivers: Iterable[str], node: NodeWatch, clock: Clock) -> None:
    async with asyncio.TaskGroup() as tasks:
        for driver in sorted(drivers):
            tasks.create_task(vouch(driver, node, clock), name=f"relay: vouching for {driver}")
