"""The oracle: what a reader may see at each moment, and what he must see once the way has been free for a while.

At every write of a pod, of the Lease, and whenever the truth changed:
 1. a pod shows no device but its own;
 2. Healthy (and Unhealthy) was true of that device at most `WITHIN` seconds ago while the way from agent to reader was free, at most
    `STALE` seconds ago otherwise: 20 s until an agent that cannot write stops its Lease, 10 s between renewals, 40 s until readers stop
    believing;
 3. nothing but Unknown is shown of a living pod once the Lease is 40 s old.
While the way is free (no fault of the API, agent running, nobody else writing):
 4. the pod as a whole is as bad as its worst device within `AT_ONCE` seconds, each device exactly what is true within `WITHIN`;
 5. the field, as the lab's kubelet writes it from the same switchboard, is right at once;
 6. so one pod that cannot be written does not cost the others theirs.
After quiet, besides (tests/chaos/verdict.py): faults on record, ended pods, late faults, events, nothing left to write.
"""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from podvitals.claim.cluster import Lease
from podvitals.claim.holdings import Holding
from podvitals.claim.pod import Pod
from podvitals.claim.times import unix
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import InvalidInput
from podvitals.fleet.inventory import PodView, agent_view, pod_view
from podvitals.node.record import DeviceState, SourceKey
from podvitals.node.session import Event
from podvitals.pod.entry import ANNOTATION, decode
from podvitals.pod.status import field
from tests.chaos.cast import NODE, START
from tests.chaos.driver import Report
from tests.chaos.loop import Timer
from tests.chaos.truth import BADNESS, Merged, Snapshot, Truth

if TYPE_CHECKING:
    from podvitals.pod.entry import DeviceEntry
    from tests.chaos.disk import Disk
    from tests.chaos.world import World

AT_ONCE, WITHIN, STALE = 0.5, 1.7, 75.0
SILENT = 40.0
UNDO = 3.0
"""Seconds in which what another writer did is undone: seen by the watch, written again, its annotation a second later."""
INSTANT = 1e-4
UNNOTICED = 2.05
"""Seconds that a process may stand still without noticing it."""


class Wrong(AssertionError):
    """What a reader saw, or did not see, and must not have (have). `rule` names what was broken; `at`: seconds after the story's begin."""

    def __init__(self, rule: str, text: str, at: float = 0.0) -> None:
        super().__init__(text)
        self.rule, self.text, self.at = rule, text, at

    def __str__(self) -> str:
        return f"at {self.at:.3f} s: {self.text} [{self.rule}]"


@dataclass
class Holder:
    """A pod as the model kubelet knows it: `keys` (with admin access?) since `since`; `shares`: devices that serve another pod since then.

    `ended`: true time when its containers stopped; `wall`: the node's clock then; `told`: the API says when. `released`: its devices may
    be given on. Somebody else wrote on this pod last when it was `meddled`, until `upset_until`; `planted`: devices of his own. `shown`:
    the agent showed its devices before."""

    uid: str
    name: str
    keys: dict[DeviceKey, bool]
    created: float
    since: float
    ended: float | None = None
    wall: float = 0.0
    told: bool = False
    released: bool = False
    planted: bool = False
    meddled: float = 0.0
    shown: bool = False
    upset_until: float = 0.0
    shares: dict[DeviceKey, float] = dataclasses.field(default_factory=dict)


@dataclass
class Saved:
    """What the oracle believed when the agent drained its ledger."""

    at: float
    facts: Snapshot


class Oracle:
    def __init__(self, world: "World") -> None:
        self.world = world
        self.truth = Truth()
        self.holders: dict[str, Holder] = {}
        self.upset_until = 0.0
        self.upsets: list[tuple[float, float]] = []
        self.restarts: list[tuple[float, float]] = []
        self.stood: list[dict[tuple[str, DeviceKey], tuple[str, ...]]] = []
        self.unsure: dict[DeviceKey, float] = {}
        self.stepped: list[float] = []
        self.stalls: list[tuple[float, float]] = []
        self.disk_failed: list[float] = []
        self.looks = 0
        self._timer: Timer | None = None
        self._views: dict[str, tuple[tuple[str, int, bool], PodView]] = {}
        self._lease: tuple[int, Lease | None] = (-1, None)
        self._alive = False

    # --- what the node side heard ----------------------------------------------------------------------------------------------

    def registered(self, number: int, source: SourceKey, born: int) -> None:
        self.truth.register(number, source, born, self.world.loop.now)
        self.moved()

    def event(self, number: int, event: Event) -> None:
        self.truth.event(number, event, self.world.loop.now)
        self.moved()

    def heard(self, number: int, report: Report, arrived: float, counted: float, *, late: bool) -> None:
        """An agent read a report that came at `arrived`, and counts its leases from `counted`."""
        if late:
            return
        if counted > arrived + UNNOTICED and self.world.loop.wrong is None:
            age = self.world.loop.now - arrived
            self.world.loop.wrong = Wrong("old news", f"a report that lay in its socket for {age:.1f} s counts as new")
        self.truth.heard(number, report, self.world.loop.now, counted)
        self.moved()

    def snapshot(self) -> Saved:
        return Saved(self.world.loop.now, self.truth.snapshot())

    def restarted(self, disk: "Disk") -> None:
        """An agent has loaded what is on the disk. Verdicts it has but did not save are forgotten, and said again by their drivers."""
        saved: Saved | None = disk.snapshot
        now = self.world.loop.now
        self.restarts.append((saved.at if saved else 0.0, now))
        self.stood.append(self._standing())
        if saved is not None and self.stepped:
            for place, fact in saved.facts.items():
                if fact.heard < self.world.machine.booted:  # also where this boot's first agent saved less than all: the row is the old one
                    key = self.truth._key(place)
                    self.unsure[key] = max(self.unsure.get(key, 0.0), fact.heard + fact.lease)
        self.truth.restarted(saved.facts if saved else None, now)
        self.moved()

    def _standing(self) -> dict[tuple[str, DeviceKey], tuple[str, ...]]:
        """The faults that stand on pods."""
        found: dict[tuple[str, DeviceKey], tuple[str, ...]] = {}
        for pod in self.world.api.pods.values():
            text = pod.metadata.annotations.get(ANNOTATION)
            with suppress(InvalidInput):
                for entry in decode(text).entries if text is not None else ():
                    found[pod.metadata.uid, entry.key] = tuple(fault.message for fault in entry.faults)
        return found

    def taken_away(self, uid: str) -> None:
        """Somebody took from a pod what stood there: what its agent had not read by then, and no checkpoint holds, is lost."""
        agent = self.world.agent
        if self.stood and (agent is None or agent.desk.book.get(uid) is None):
            self.stood[-1] = {place: told for place, told in self.stood[-1].items() if place[0] != uid}

    def moved(self) -> None:
        """Something was heard, or time has passed: who holds what changed is looked at when his pod must show it."""
        truth, loop = self.truth, self.world.loop
        if truth.changed:
            for key in truth.changed:
                for holder in self.holders.values():
                    if key in holder.keys:
                        loop.after(AT_ONCE + 0.001, self.look, holder.name, holder.uid)
                        loop.after(WITHIN + 0.001, self.look, holder.name, holder.uid)
            truth.changed.clear()
        due = truth.next_due()
        if due < 1e12 and (self._timer is None or not self._timer.live or due < self._timer.at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.truth.advance(self.world.loop.now)
        self.moved()

    def lost(self) -> None:
        """A file of the agent's is lost or damaged, or could not be written."""
        self.disk_failed.append(self.world.loop.now)

    def stalled(self, seconds: float) -> None:
        """The agent stands still from now on for so long. What it had to recover from by then takes it that much longer."""
        now = self.world.loop.now
        self.stalls.append((now, now + seconds))
        self.upset(max(0.0, self.upset_until - now), seconds)
        for holder in self.holders.values():
            if holder.upset_until > now:
                holder.upset_until += seconds

    # --- what stands in the way ------------------------------------------------------------------------------------------------

    def upset(self, seconds: float, recovery: float) -> None:
        """Until then the way from a driver's word to a reader's eye is not free."""
        now = self.world.loop.now
        until = now + seconds + recovery
        self.upsets.append((now, until))
        if until > self.upset_until:
            self.upset_until = until
            self.world.loop.at(until + WITHIN + 0.01, self.look_at_all)

    def free_since(self, holder: Holder) -> float:
        return max(self.upset_until, holder.upset_until, self._undone(holder), holder.since)

    # --- what the lab's kubelet would write ------------------------------------------------------------------------------------

    def field(self, state_of: Callable[[DeviceKey], DeviceState]) -> None:
        """The field of each living pod, as the lab's kubelet writes it with the same switchboard, is the truth of this moment: nothing lies
        between, but for what the process slept through."""
        now = self.world.loop.now
        if self.world.loop.wrong is not None or any(begin <= now <= end + 65.0 for begin, end in self.stalls):
            return
        self.truth.advance(now + INSTANT)
        for holder in self.holders.values():
            if holder.ended is None and holder.keys:
                holdings = [Holding("main", "container", f"claim:{key.driver}", "", "", "r", key) for key in holder.keys]
                for allocated in field(holdings, state_of, {}).get("main", ()):
                    for resource in allocated.resources:
                        key = next(key for key in holder.keys if str(key) == resource.resource_id)
                        allowed = [moment.merged for moment in self.truth.during(key, now - INSTANT, now + INSTANT)]
                        if (
                            all(resource.health != one.health for one in allowed)
                            and self.unsure.get(key, 0.0) < now
                            and self.world.loop.wrong is None
                        ):
                            text = f"the field of {holder.name} shows {key} {resource.health}, true is {_words(allowed)}"
                            self.world.loop.wrong = Wrong("field", text, now - START)

    # --- what a reader sees ----------------------------------------------------------------------------------------------------

    def lease(self) -> Lease | None:
        api = self.world.api
        if self._lease[0] != api.lease_version:
            self._lease = (api.lease_version, None if api.lease is None else msgspec.convert(api.lease, Lease))
        return self._lease[1]

    def lease_age(self) -> float:
        lease = self.lease()
        renewed = unix(lease.spec.renew_time) if lease is not None else None
        return self.world.api.wall() - renewed if renewed is not None else 1e9

    def leased(self) -> None:
        """The Lease was written."""
        self.look_at_all()
        self.world.loop.after(SILENT + 0.01, self.look_at_all)

    def view(self, pod: Pod) -> PodView:
        lease = self.lease()
        agent = agent_view(NODE, lease)
        wall = self.world.api.wall()
        place = (pod.metadata.resource_version, self.world.api.lease_version, agent.alive(wall))
        known = self._views.get(pod.metadata.uid)
        if known is None or known[0] != place:
            known = self._views[pod.metadata.uid] = (place, pod_view(pod, agent, wall))
        return known[1]

    def look_at_all(self) -> None:
        for pod in list(self.world.api.pods.values()):
            self.look(pod.metadata.name, pod.metadata.uid)

    def written(self, before: Pod | None, after: Pod | None) -> None:
        if after is not None:
            self.look(after.metadata.name, after.metadata.uid)

    def look(self, name: str, uid: str) -> None:
        pod = self.world.api.pods.get(name)
        holder = self.holders.get(uid)
        if pod is None or pod.metadata.uid != uid or holder is None or self.world.loop.wrong is not None:
            return
        self.looks += 1
        self.truth.advance(self.world.loop.now)
        try:
            self._judge(pod, holder, self.view(pod), self.world.loop.now)
        except Wrong as wrong:
            wrong.at = self.world.loop.now - START
            self.world.loop.wrong = wrong

    def _judge(self, pod: Pod, holder: Holder, view: PodView, now: float) -> None:
        if now <= holder.upset_until or now <= self._undone(holder):
            return
        holder.shown = holder.shown or (bool(view.entries) and not holder.planted)
        if not holder.planted or (holder.shown and not self.disk_failed):
            # What somebody planted on a pod that was never known, or of which the memory was lost, cannot be told from ours.
            for entry in view.entries:
                self._own(holder, entry)
        if pod.ended or holder.ended is not None:
            return
        if self.lease_age() > SILENT and any(entry.health is not Health.UNKNOWN for entry in view.entries):
            raise Wrong("silent", f"{holder.name} shows a health although the agent's Lease is {self.lease_age():.1f} s old")
        self._not_stale(holder, view, now)
        self._exact(holder, view, now)

    def _undone(self, holder: Holder) -> float:
        """When what somebody else wrote on it last has been undone: a few free seconds after it."""
        done = max(holder.upset_until, holder.since + UNDO if holder.meddled < holder.since else 0.0)
        for begin, until in self.upsets:
            if begin <= done and until + UNDO > done and until >= holder.meddled:
                done = until + UNDO
        return done if holder.meddled else 0.0

    def _own(self, holder: Holder, entry: "DeviceEntry") -> None:
        if entry.key not in holder.keys:
            raise Wrong("own", f"{holder.name} shows {entry.key}, which it does not hold")

    def _not_stale(self, holder: Holder, view: PodView, now: float) -> None:
        bound = WITHIN if now - self.free_since(holder) > WITHIN else STALE
        for entry in view.entries:
            if entry.health is not Health.UNKNOWN:
                allowed = [moment.merged for moment in self.truth.during(entry.key, now - bound, now)]
                if not any(one.health is entry.health for one in allowed):
                    raise Wrong(
                        "stale", f"{holder.name} shows {entry.key} {entry.health}, which was not so within {bound:g} s: {_words(allowed)}"
                    )
        if view.health is Health.HEALTHY and view.newer is not None:
            for key in holder.keys:
                if all(moment.merged.health is not Health.HEALTHY for moment in self.truth.during(key, now - bound, now)):
                    raise Wrong("stale", f"{holder.name} is said to be Healthy, but {key} was not within {bound:g} s")

    def _exact(self, holder: Holder, view: PodView, now: float) -> None:
        if not holder.keys or any(self.unsure.get(key, 0.0) >= now - WITHIN for key in holder.keys):
            return
        free = now - self.free_since(holder)
        if free > AT_ONCE:
            recent = [self.truth.during(key, now - AT_ONCE, now) for key in holder.keys]
            if all(len(moments) == 1 for moments in recent):
                worst = max((moments[0].merged.health for moments in recent), key=lambda health: BADNESS[health])
                if view.health is not worst:
                    raise Wrong("at once", f"{holder.name} is {view.health}, must be {worst} since {AT_ONCE:g} s{self._silence(view)}")
        if free > WITHIN:
            shown = {entry.key: entry for entry in view.entries}
            for key in holder.keys:
                recent_one = self.truth.during(key, now - WITHIN, now)
                if len(recent_one) == 1:
                    self._same(holder, key, shown.get(key), recent_one[0].merged)

    def _silence(self, view: PodView) -> str:
        return f" (the Lease is {self.lease_age():.0f} s old)" if view.silent else ""

    @staticmethod
    def _same(holder: Holder, key: DeviceKey, entry: "DeviceEntry | None", truth: Merged) -> None:
        if entry is None:
            raise Wrong("exact", f"{holder.name} does not show {key}, which it holds")
        if entry.health is not truth.health or not contains(entry.message, truth.parts) or entry.action != truth.action:
            shown = f"{entry.health} {entry.message!r} {entry.action!r}"
            raise Wrong("exact", f"{holder.name} shows {key} {shown}, true since {WITHIN:g} s is {_words([truth])}")


def contains(message: str, parts: tuple[str, ...]) -> bool:
    at = 0
    for part in parts:
        at = message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _words(allowed: list[Any]) -> str:
    return " | ".join(f"{one.health} {'; '.join(one.parts)!r}" for one in allowed)
