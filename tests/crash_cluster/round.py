"""A round: a plan carried out in a world, the way back to the truth, and the verdict."""

import asyncio
import time
from math import inf

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from tests.cluster.api import Object
from tests.cluster.subjects import entries, field_of
from tests.crash.oracle import Wrong, named
from tests.crash.truth import serials
from tests.crash_cluster import limits, plan
from tests.crash_cluster.acts import Acts
from tests.crash_cluster.oracle import PLACES, Pod, effects
from tests.crash_cluster.plan import Plan, PodAct
from tests.crash_cluster.report import ClusterReport
from tests.crash_cluster.world import World

STATIC = 2
"""Pods that live on from round to round, each with a device of each driver."""


class Rounds:
    """Those of one world. `async with` it; when it is left, all pods that are to end have ended."""

    def __init__(self, world: World) -> None:
        self.world, self._acts = world, Acts(world)
        self._lives: list[asyncio.Task[None]] = []
        self._known: tuple[int, dict[str, None], list[Pod]] = (0, {}, [])
        self._calls = self._excused = 0
        self._looked: set[tuple[str, str, int]] = set()

    async def furnish(self) -> None:
        """The pods that stay, and the first truth."""
        for number in range(STATIC):
            await self._acts.make(f"static-{number}", PodAct(0.0, "both", "deleted", 0.0))
        await self._converge()

    async def run(self, one: Plan) -> ClusterReport:
        world = self.world
        report = self._report(one.seed, [*map(str, one.acts)])
        world.note(f"round  seed {one.seed}: {', '.join(report.acts)}")
        async with asyncio.TaskGroup() as tasks:
            for act in one.acts:
                tasks.create_task(self._at(act), name=f"crash: {act}")
            tasks.create_task(self._break_devices(one), name="crash: devices")
            tasks.create_task(self._begin_pods(one), name="crash: pods")
        report.settled = await self._converge()
        return await self._told(report)

    async def drain(self) -> ClusterReport:
        """Until all pods but the static ones are gone, those too that a failed prepare made late."""
        report = self._report(-1, ["the end"])
        await asyncio.gather(*self._lives)
        report.settled = await self._converge()
        return await self._told(report)

    def _report(self, seed: int, acts: list[str]) -> ClusterReport:
        """As it stands before."""
        world = self.world
        world.judge.blips.clear()
        self._known = len(world.wrong), dict.fromkeys(world.pods), [pod for pod in world.pods.values() if pod.runs < inf]
        return ClusterReport(seed, acts, took=-time.monotonic(), changes=-world.truth.changes(), claims=-world.judge.seen)

    async def _told(self, report: ClusterReport) -> ClusterReport:
        """As it stands after; what was wrong in between."""
        world, (wrong, pods, ran) = self.world, self._known
        report.due = self._look_for_faults()
        calls = await self._look_back()
        report.calls, self._calls = calls - self._calls, calls
        excused = sum(pod.excused for pod in world.pods.values())
        report.excused, self._excused = excused - self._excused, excused
        report.wrong = [(one.kind, one.text) for one in world.wrong[wrong:]]
        report.took += time.monotonic()
        report.changes += world.truth.changes()
        report.claims += world.judge.seen
        report.pods = sum(name not in pods for name in world.pods)
        report.starts = [pod.runs - pod.created for pod in world.pods.values() if pod.runs < inf and pod not in ran]
        report.blips = list(world.judge.blips)
        return report

    async def abandon(self) -> None:
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    # --- the faults --------------------------------------------------------------------------------------------------------------

    async def _at(self, act: plan.Act) -> None:
        await asyncio.sleep(act.at)
        await self._acts.do(act)

    async def _break_devices(self, one: Plan) -> None:
        began = time.monotonic()
        for change in one.changes:
            await asyncio.sleep(max(0.0, began + change.at - time.monotonic()))
            await self.world.change(change.device, Health(change.health))

    async def _begin_pods(self, one: Plan) -> None:
        began = time.monotonic()
        for number, act in enumerate(one.pods):
            await asyncio.sleep(max(0.0, began + act.at - time.monotonic()))
            if len(self.world.alive()) >= plan.DEVICES:
                self.world.note("pod    none is made: the devices are given away")
                continue
            name = f"r{one.seed}-{number}-{len(self.world.pods)}"
            self._lives.append(asyncio.create_task(self._acts.live(name, act), name=f"crash: pod {name}"))

    # --- the way back ------------------------------------------------------------------------------------------------------------

    async def _converge(self) -> float:
        """Until everybody sees the truth: seconds since the last fault was over."""
        world, began = self.world, time.monotonic()
        if await world.seen.until(lambda: not self._differences(), limits.CONVERGES):
            world.order.settled()
        else:
            for text in self._differences():
                world.found(Wrong("not converged", f"{time.monotonic() - began:.0f} s after the last fault: {text}"))
        return time.monotonic() - world.last_fault

    def _differences(self) -> list[str]:
        found = []
        for pod in self.world.alive():
            seen = self.world.seen.pods.get(pod.uid)
            if pod.failures or pod.condemned or pod.deleted < inf:
                continue
            if seen is None or "nodeName" not in seen["spec"]:
                continue  # it waits for a ResourceSlice
            if pod.runs == inf:
                found.append(f"pod {pod.name} does not run")
            elif not pod.over(time.monotonic()):
                found += self._untrue(seen, self.world.seen.held(pod.uid))
        return found

    def _untrue(self, pod: Object, held: frozenset[DeviceKey]) -> list[str]:
        name, found = pod["metadata"]["name"], []
        told = {entry["device"]: (entry["health"], entry.get("message", "")) for entry in entries(pod)}
        for key in sorted(held):
            shown = [said for resource, said in field_of(pod).items() if named(resource, key)]
            if len(shown) != 1:
                found.append(f"pod {name}: the field has {len(shown)} entries for {key.device}")
            elif not self._is_true(key, *shown[0]):
                found.append(f"pod {name}: the field says {key.device} {shown[0][0]} {shown[0][1]!r}")
            if key.device not in told or not self._is_true(key, *told[key.device]):
                found.append(f"pod {name}: the annotation says {key.device} {told.get(key.device)}")
        return found if held else [f"pod {name}: its claim is not known"]

    def _is_true(self, key: DeviceKey, health: str, message: str) -> bool:
        state = self.world.truth.now(key)
        return state.health == health and (not state.serial or state.serial in serials(message))

    # --- what must be found ------------------------------------------------------------------------------------------------------

    def _look_for_faults(self) -> int:
        """Those that are over and stood long enough with everything in order, on each pod: how many."""
        world, due = self.world, 0
        for pod in world.pods.values():
            for key in world.seen.held(pod.uid):
                for serial, began, ended in world.truth.faults(key):
                    for place in PLACES:
                        span = world.fine[place, key.driver]
                        stood = span.longest(max(began, pod.runs), min(ended, pod.runs + pod.lasts, pod.deleted))
                        if stood < limits.SHOWN or (pod.uid, place, serial) in self._looked or ended == inf:
                            continue
                        self._looked.add((pod.uid, place, serial))
                        due += 1
                        if serial not in world.shown.get((pod.uid, place), ()):
                            world.found(
                                Wrong("lost", f"fault n={serial} of {key.device} stood {stood:.1f} s: never in the {place} of {pod.name}")
                            )
        return due

    async def _look_back(self) -> int:
        """What drivers did, and what was logged; how many calls that were."""
        world, seen = self.world, self.world.seen
        gone = {claim for pod in world.pods.values() if pod.gone < inf for claim in seen.claims_of.get(pod.uid, ())}
        calls = 0
        for driver, name in world.names.items():
            given = {claim: frozenset(key.device for key in keys if key.driver == name) for claim, keys in seen.given.items()}
            done = await asyncio.to_thread(world.done, driver)
            calls += len(done)
            for text in effects(done, given, frozenset(gone)):
                world.found(Wrong("effect", f"driver {driver}: {text}"))
        left = {seen.claim_uids[claim]: claim for claim in gone}
        for path in await asyncio.to_thread(lambda: list(world.cluster.cdi_dir.iterdir())):
            for uid in (uid for uid in left if uid in path.name):
                world.found(Wrong("effect", f"{path.name} of claim {left[uid]} is still there, and its pod is gone"))
        for text in await asyncio.to_thread(world.tracebacks):
            world.found(Wrong("traceback", text))
        return calls
