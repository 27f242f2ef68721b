"""Keeps the node's ResourceSlices as the inventory is: published, updated, and put back when somebody deletes them.

Every start of a kubelet deletes them (CONTRACT §4), so they are watched. The API may be away for long: it is tried again and again, said
once a minute, and nothing else of the driver waits for it.
"""

import asyncio
import logging
from contextlib import aclosing

from podvitals.claim.resource import ResourceSlice
from podvitals.clock import set_by
from podvitals.detect.schedule import Schedule
from podvitals.driver.slices import Plan, Slices, chunks
from podvitals.errors import Conflict, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import NODES, SLICES

log = logging.getLogger("podvitals.driver")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
CALM = 10.0
"""Seconds after which a write is no answer to the write before: two that disagree must not race each other for ever."""
SAY_EVERY = 60.0


class Publish:
    def __init__(self, client: Client, driver: str, node: str, schedule: Schedule) -> None:
        self._client, self._driver, self._node, self._schedule = client, driver, node, schedule
        self._clock = schedule.clock
        self._slices = Slices(driver, node)
        self._existing: dict[str, ResourceSlice] = {}
        self._synced = False
        self._version = -1
        self._look = asyncio.Event()
        self._said_at: float | None = None
        self._pause = self._calm = 0.0
        self._wrote_at: float | None = None
        self.published = asyncio.Event()
        """Set once the API says what the inventory does."""

    async def run(self) -> None:
        unsubscribe = self._schedule.subscribe(self._inventory_changed)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="driver: follow slices")
                tasks.create_task(self._keep(), name="driver: publish slices")
        finally:
            unsubscribe()

    def _inventory_changed(self, _: frozenset[str]) -> None:
        if self._schedule.inventory_version != self._version:
            self._look.set()

    async def _follow(self) -> None:
        fields = f"spec.driver={self._driver},spec.nodeName={self._node}"
        async with aclosing(
            follow(self._client, SLICES, fields=fields, clock=self._clock, on_error=lambda e, _: self._complain(e))
        ) as changes:
            async for change in changes:
                if change.object is None:
                    self._synced = True
                elif change.kind == "deleted":
                    known = self._existing.get(change.object.metadata.name)
                    if known is not None and known.metadata.uid == change.object.metadata.uid:
                        del self._existing[change.object.metadata.name]
                else:
                    self._existing[change.object.metadata.name] = change.object
                self._look.set()

    async def _keep(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            if not self._synced:
                continue
            try:
                if self._schedule.inventory_version != self._version:
                    self._version, self._pause = self._schedule.inventory_version, 0.0
                await self._publish()
            except (Conflict, NotFound) as error:
                # Somebody else wrote: the watch tells what.
                log.debug("slices: %s", error)
                if isinstance(error, NotFound) and "nodes" in str(error):
                    self._complain(error)
                await self._again_in(1.0)
            except PodvitalsError as error:
                self._complain(error)
                self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                await self._again_in(self._pause)

    async def _publish(self) -> None:
        wanted = chunks(self._schedule.devices)
        owner = next((o.uid for s in self._existing.values() for o in s.metadata.owner_references if o.kind == "Node"), "")
        if not self._slices.plan(wanted, self._existing, owner):
            self._says_so()
            return
        await self._calm_down()
        # Asked for each time: a node that was deleted and made anew has another uid, and slices owned by the old one are collected.
        node = await self._client.get(NODES, self._node)
        plan = self._slices.plan(wanted, self._existing, node.metadata.uid)
        await self._do(plan)
        self._wrote_at = self._clock.now()
        self._says_so()

    async def _do(self, plan: Plan) -> None:
        for body in plan.replace:
            self._wrote(body, await self._client.replace(SLICES, body["metadata"]["name"], body))
        for body in plan.create:
            self._wrote(body, await self._client.create(SLICES, body))
        for name in plan.delete:
            await self._client.delete(SLICES, name)
            self._existing.pop(name, None)
        log.info(
            "published slices node=%s generation=%d created=%d replaced=%d deleted=%d",
            self._node, plan.generation, len(plan.create), len(plan.replace), len(plan.delete),
        )  # fmt: skip

    def _wrote(self, body: dict[str, object], answer: ResourceSlice) -> None:
        self._slices.written(body, answer)
        self._existing[answer.metadata.name] = answer

    def _says_so(self) -> None:
        if self._said_at is not None:
            log.info("the Kubernetes API answers again: slices are published")
            self._said_at = None
        self._pause = 0.0
        self.published.set()

    async def _calm_down(self) -> None:
        """A write soon after the last one waits, ever longer: somebody may be undoing what we do."""
        if self._wrote_at is None or self._clock.now() - self._wrote_at > CALM + self._calm:
            self._calm = 0.0
            return
        self._calm = min(max(self._calm * 2, FIRST_PAUSE), LONGEST_PAUSE)
        await self._clock.sleep_until(self._clock.now() + self._calm)

    async def _again_in(self, seconds: float) -> None:
        await set_by(self._look, self._clock, self._clock.now() + seconds)
        self._look.set()

    def _complain(self, error: PodvitalsError) -> None:
        now = self._clock.now()
        if self._said_at is None or now - self._said_at >= SAY_EVERY:
            self._said_at = now
            log.warning("ResourceSlices are not published yet, trying on; health is served all the same: %s", error)
