"""A round: a plan carried out in a world, the way back to the truth, and the verdict."""

import asyncio
import time
from datetime import timedelta

from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.fleet.inventory import PodView
from tests.crash.acts import Acts
from tests.crash.lost import Hold
from tests.crash.oracle import ALLOWANCE, Wrong, named
from tests.crash.plan import Act, Plan
from tests.crash.pods import PodStuck
from tests.crash.report import NodeReport
from tests.crash.truth import serials
from tests.crash.world import World, annotation_of, key_of

CONVERGES_WITHIN = 30.0
"""Seconds after the last fault of a round within which every reader must see the truth."""
FAILED_CONVERGES_WITHIN = 5.0
"""Where something is wrong already, nobody waits for more."""
STATIC = {"one": ("s0", "l0"), "two": ("s1",)}
"""Pods that live on from round to round; a third shares the claim of the second."""


class Round:
    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self._acts = Acts(world)

    async def run(self) -> NodeReport:
        world, acts = self.world, [str(act) for act in self.plan.acts]
        report = NodeReport(self.plan.seed, [*acts, *([f"pod-{self.plan.pods.kind}"] if self.plan.pods else [])])
        began, changes, claims, before = time.monotonic(), world.truth.changes(), world.judge.seen, len(world.wrong)
        world.judge.blips.clear()
        world.note(f"round  seed {self.plan.seed}: {', '.join(acts)}")
        async with asyncio.TaskGroup() as tasks:
            for act in self.plan.acts:
                tasks.create_task(self._at(act), name=f"crash: {act}")
            tasks.create_task(self._break_devices(), name="crash: devices")
            if self.plan.pods is not None:
                tasks.create_task(self._move_pods(self.plan.pods), name="crash: pods")
        report.settled = await self.converge()
        report.delivered = world.register.delivered()
        for hold in list(world.pods.holds.values()):
            report.due += self._look_for_faults(hold)
        for hold in [hold for hold in world.pods.holds.values() if hold.pod not in (*STATIC, "three")]:
            await self._tidy(hold)
        for text in await asyncio.to_thread(world.tracebacks):
            world.found(Wrong("traceback", text))
        world.register.forget()
        report.wrong = [(wrong.kind, wrong.text) for wrong in world.wrong[before:]]
        report.changes, report.claims = world.truth.changes() - changes, world.judge.seen - claims
        report.blips = [seconds for _, seconds in world.judge.blips]
        report.took = time.monotonic() - began
        world.note(f"round  seed {self.plan.seed}: {len(report.wrong)} wrong")
        return report

    # --- the faults --------------------------------------------------------------------------------------------------------------

    async def _at(self, act: Act) -> None:
        await asyncio.sleep(act.at)
        await self._acts.do(act)

    async def _break_devices(self) -> None:
        began = time.monotonic()
        for change in self.plan.changes:
            await asyncio.sleep(max(0.0, began + change.at - time.monotonic()))
            self.world.change(change.device, Health(change.health))

    async def _move_pods(self, act: Act) -> None:
        await asyncio.sleep(act.at)
        try:
            await self._acts.do_with_pods(act)
        except PodStuck as stuck:
            self.world.found(Wrong("stuck", str(stuck)))

    async def _tidy(self, hold: Hold) -> None:
        try:
            await self.world.pods.delete(hold)
        except PodStuck as stuck:
            self.world.found(Wrong("stuck", str(stuck)))

    # --- the way back ------------------------------------------------------------------------------------------------------------

    async def converge(self) -> float:
        """Until everybody sees the truth: seconds."""
        began = time.monotonic()
        # An annotation goes once a second: faults that are over may come later than the health that followed.
        reader = self.world.reader
        await reader.until(lambda: self._arrived() or bool(self.world.wrong), CONVERGES_WITHIN)
        if not await reader.until(self._arrived, FAILED_CONVERGES_WITHIN if self.world.wrong else 0.0):
            silent = [] if self.world.agent_works() else ["the agent that runs does not renew its Lease, or hears a driver not at all"]
            for text in (*silent, *self._differences()):
                self.world.found(Wrong("not converged", f"{time.monotonic() - began:.0f} s after the last fault: {text}"))
        else:
            for way in (self.world.ways.agent, self.world.ways.kubelet, *self.world.ways.drivers.values()):
                way.settled()
        return time.monotonic() - began

    def _differences(self) -> list[str]:
        found: list[str] = []
        wall = self.world.client.wall()
        for hold in self.world.pods.holds.values():
            view = self.world.reader.view(hold.uid, wall)
            if view is None:
                found.append(f"pod {hold.pod} is not there")
            elif view.pod.ended:
                found += self._ended(hold, view)
            else:
                found += [*self._of_agent(hold, view), *self._of_kubelet(hold, view.pod)]
        return found

    def _arrived(self) -> bool:
        return self.world.agent_works() and not self._differences() and not self._lost()

    def _lost(self) -> bool:
        pods = self.world.reader.pods
        told = ((hold, annotation_of(pods[uid])) for uid, hold in self.world.pods.holds.items() if uid in pods)
        return any(self.world.register.missing(hold, said.entries if said is not None else ())[0] for hold, said in told)

    def _of_agent(self, hold: Hold, view: PodView) -> list[str]:
        if view.silent:
            return [f"pod {hold.pod}: the agent is silent"]
        if view.newer is not None:
            return [f"pod {hold.pod}: condition says {view.newer.health}, the annotation something else"]
        if {entry.key for entry in view.entries} != hold.keys:
            return [f"pod {hold.pod}: the annotation has {len(view.entries)} of {len(hold.keys)} devices"]
        return [
            f"pod {hold.pod}: {entry.key.device} is told {entry.health} {entry.message!r}"
            for entry in view.entries
            if not self._is_true(entry.device, entry.health, entry.message)
        ]

    def _of_kubelet(self, hold: Hold, pod: Pod) -> list[str]:
        resources = [r for status in pod.status.container_statuses for a in status.allocated_resources_status for r in a.resources]
        found = []
        for key in sorted(hold.keys):
            told = [resource for resource in resources if named(resource.resource_id, key)]
            if len(told) != 1:
                found.append(f"pod {hold.pod}: the field has {len(told)} entries for {key.device}; the pod is {pod.status.phase}")
            elif not self._is_true(key.device, Health(told[0].health), told[0].message or ""):
                found.append(f"pod {hold.pod}: the field says {key.device} {told[0].health} {told[0].message!r}")
        return found

    def _is_true(self, device: str, health: Health, message: str) -> bool:
        state = self.world.truth.now(key_of(device))
        return state.health is health and (not state.serial or state.serial in serials(message))

    def _ended(self, hold: Hold, view: PodView) -> list[str]:
        devices = annotation_of(view.pod)
        # Of a pod that an agent saw for the first time after its end, nobody knows any more what it held.
        if devices is not None and devices.ended is None:
            return [f"pod {hold.pod} has ended, and its annotation does not say so"]
        return []

    # --- what must be found ------------------------------------------------------------------------------------------------------

    def _look_for_faults(self, hold: Hold) -> int:
        """On this pod: how many."""
        world = self.world
        pod = world.reader.pods.get(hold.uid)
        devices = annotation_of(pod) if pod is not None else None
        entries = devices.entries if devices is not None else ()
        wrong, due = world.register.missing(hold, entries)
        world.register.looked(hold, entries)
        for one in wrong:
            world.found(one)
        if devices is not None and devices.ended is not None:
            at = devices.ended.timestamp() - world.register.wall
            for entry in devices.entries:
                if (text := self._health_at_end(entry.device, entry.health, at)) is not None:
                    world.found(Wrong("false at the end", f"pod {hold.pod} ended {timedelta(seconds=at - world.began)} in: {text}"))
        return due

    def _health_at_end(self, device: str, health: Health, at: float) -> str | None:
        """What is wrong with the health as of the end, which is rounded down to a second. Of an episode the latest message is kept."""
        if health is Health.UNKNOWN:
            return None
        key, truth = key_of(device), self.world.truth
        backing = truth.backing(key, health, None, at + 1.0 + ALLOWANCE)
        if backing is None:
            return f"{device} was {health}, which it never was before"
        late = at - (backing + truth.drivers[key.driver].lease + ALLOWANCE)
        return f"{device} was {health}, {late:.1f} s after its lease" if late > 0 else None


async def furnish(world: World) -> None:
    """The pods that stay, and the first truth."""
    holds = {name: await world.pods.create(name, [key_of(device) for device in devices], stays=True) for name, devices in STATIC.items()}
    await world.pods.create("three", [key_of(device) for device in STATIC["two"]], sharing=holds["two"].uid, stays=True)
    await Round(world, Plan(-1, (), (), None)).converge()
    if world.wrong:
        raise RuntimeError(f"the world did not come up: {world.wrong[0].text}")
