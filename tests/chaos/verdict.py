"""The verdict after quiet: what must be so when nothing has happened for a while.

 7. A pod that holds nothing carries nothing of ours, whoever wrote it.
 8. The last faults reported of a device, in the life of the pod, are on record in its entry: always the last two, three where no Unknown
    came after them; for an ended pod, as of its end. (What "reported" means: tests/chaos/truth.py.)
 9. An ended pod shows each device as it was in the second of its end, or Unknown where nobody could tell; a fault up to ten minutes later
    is added and marked, unless the device served another pod by then.
10. Whoever was Unhealthy long enough to be told was announced in an event, no event names another pod's device, and one is announced again
    by the next agent only if it was not.
11. The agent vouches (its Lease is fresh), and writes nothing where nothing changes.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.inventory import PodView
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, FaultEntry
from tests.chaos.cast import KEYS, START, WALL
from tests.chaos.oracle import SILENT, WITHIN, Holder, Oracle, Wrong, contains
from tests.chaos.truth import Merged, Moment

if TYPE_CHECKING:
    from tests.chaos.world import World

WINDOW = 600.0
LONG_ENOUGH = 4.0
"""Seconds of being Unhealthy after which an event must be there, the way being free."""
STILL = 30.0


class Episode(NamedTuple):
    """Unhealthy from `start` to `end` (None: still). `last`: what it was at its end; `any`: whatever it was meanwhile."""

    start: float
    end: float | None
    last: Merged
    every: tuple[Merged, ...]


def episodes(moments: Iterable[Moment]) -> list[Episode]:
    found: list[Episode] = []
    for moment in moments:
        going = bool(found) and found[-1].end is None
        if moment.merged.health is Health.UNHEALTHY:
            if going:
                found[-1] = found[-1]._replace(last=moment.merged, every=(*found[-1].every, moment.merged))
            else:
                found.append(Episode(moment.at, None, moment.merged, (moment.merged,)))
        elif going:
            found[-1] = found[-1]._replace(end=moment.at)
    return found


class Verdict:
    def __init__(self, world: "World") -> None:
        self.world, self.oracle = world, world.oracle
        self.truth = world.oracle.truth

    def judge(self) -> None:
        for pod in self.world.api.pods.values():
            holder = self.oracle.holders[pod.metadata.uid]
            view = self.oracle.view(pod)
            if not holder.keys:
                if not pod.spec.resource_claims and pod.status.extended_resource_claim_status is None:
                    self._nothing(pod)
            elif pod.ended:
                if holder.shown or not holder.planted:  # what was planted on a pod that nobody knew cannot be told from ours
                    self._ended(holder, view)
            elif holder.ended is None:
                for key in holder.keys:
                    self._on_record(holder, view, key, self.world.loop.now, self.world.loop.now)
        self._events()
        if self.oracle.lease_age() > SILENT:
            raise Wrong("vouches", f"the Lease is {self.oracle.lease_age():.0f} s old although nothing stands in the way")

    # --- pods ------------------------------------------------------------------------------------------------------------------

    def _nothing(self, pod: Pod) -> None:
        if ANNOTATION in pod.metadata.annotations or pod.condition(CONDITION) is not None:
            raise Wrong("nothing", f"{pod.metadata.name} holds no device, and carries what somebody planted")

    def _on_record(self, holder: Holder, view: PodView, key: DeviceKey, until: float, last: float) -> None:
        """Faults that began by `until` are; those that began by `last` may be, and then push older ones off."""
        moments = self.truth.history.get(key, [])
        found = [one for one in episodes(moments) if one.start <= last]
        entry = next((one for one in view.entries if one.key == key), None)
        for newer, episode in enumerate(reversed(found)):
            if episode.start > until:
                continue
            if self._touched(key, episode):
                # A record that was taken over goes on with what is said next, or is left at what was saved before.
                at = len(found) - 1 - newer
                beside = [one for one in found[max(at - 1, 0) : at + 2] if one is not episode]
                episode = episode._replace(every=(*episode.every, *(merged for one in beside for merged in one.every)))
            if (
                self._over_by(episode) < holder.since + 1.5
                or self.oracle.unsure.get(key, 0.0) >= episode.start
                or not self._owed(holder, key, episode)
            ):
                continue
            since = max(at for at, one in enumerate(moments) if one.at == found[-1].start and one.merged.health is Health.UNHEALTHY)
            unknown_after = any(one.merged.health is Health.UNKNOWN for one in moments[since:])
            newer += sum(at >= episode.start for at in self.truth.late.get(key, ()))
            if newer <= (1 if unknown_after or self.oracle.restarts[1:] else 2) and not self._recorded(holder, entry, episode):
                told = [] if entry is None else [(str(fault.health), fault.message) for fault in entry.faults]
                raise Wrong("fault lost", f"{holder.name} has lost a fault of {key}: {'; '.join(episode.last.parts)!r}; on record {told}")

    def _owed(self, holder: Holder, key: DeviceKey, episode: Episode) -> bool:
        """Whether it was reported: no endpoint mended it before it was asked, and no agent died between hearing and saving it, or it stood
        on this pod."""
        if episode.end == episode.start and (key, episode.start) in self.truth.overtaken:
            return False
        alone = False  # on the pod, in no checkpoint: then each further agent finds it there, or another writer has taken it away
        for number, (saved, restarted) in enumerate(self.oracle.restarts):
            if episode.start <= saved and self._unseen_step(saved, restarted) and not self._stood(number, holder, key, episode):
                return False
            if alone or saved < episode.start <= restarted:
                if any(episode.start <= at <= restarted for at in self.oracle.stepped):
                    return False  # by the clock that is left, what stands on the pod lies in the future
                if not self._stood(number, holder, key, episode):
                    return False
                alone = True
        return True

    def _unseen_step(self, saved: float, restarted: float) -> bool:
        """Whether the clock was stepped and the agent that began then cannot know: nobody was there, or what he remembered is lost."""
        lost = [at for at in self.oracle.disk_failed if at <= restarted]
        return any(saved <= at <= restarted or any(at <= one for one in lost) for at in self.oracle.stepped if at <= restarted)

    def _stood(self, restart: int, holder: Holder, key: DeviceKey, episode: Episode) -> bool:
        return any(contains(text, episode.last.parts) for text in self.oracle.stood[restart].get((holder.uid, key), ()))

    def _recorded(self, holder: Holder, entry: DeviceEntry | None, episode: Episode) -> bool:
        if entry is None:
            return False
        open_end = self._touched(entry.key, episode) or holder.ended is not None
        faults = [fault for fault in entry.faults if fault.health is Health.UNHEALTHY]
        return any(contains(fault.message, merged.parts) for fault in faults for merged in (episode.every if open_end else (episode.last,)))

    def _over_by(self, episode: Episode) -> float:
        """When it was over at the earliest: of a lease that ended while no agent was there, its last renewal may not have been saved."""
        over = self.world.loop.now if episode.end is None else episode.end
        return min((saved for saved, restarted in self.oracle.restarts if saved < over <= restarted), default=over)

    def _touched(self, key: DeviceKey, episode: Episode) -> bool:
        """Whether an agent died or stood still in its course, or another endpoint was asked at its end: what was said last then may not be
        what was seen or saved last."""
        if (key, episode.end) in self.truth.overtaken:
            return True
        over = self.world.loop.now if episode.end is None else episode.end
        breaks = (*self.oracle.restarts, *self.oracle.stalls)
        return any(begin <= over and end >= episode.start for begin, end in breaks)

    # --- ended pods ------------------------------------------------------------------------------------------------------------

    def _ended(self, holder: Holder, view: PodView) -> None:
        assert holder.ended is not None
        free = self._free(holder.ended - 2 * WITHIN, holder.ended + 5.0) and holder.since < holder.ended - 1.0
        free = free and holder.upset_until < holder.ended - WITHIN
        last = holder.ended + (1.0 - holder.wall % 1.0 if holder.told else 1.0) + 0.05
        if not holder.told and not free:
            last = self.world.loop.now  # nobody can tell when it ended: it is judged when it is seen
        entries = {entry.key: entry for entry in view.entries}
        for key in holder.keys:
            entry = entries.get(key)
            if entry is None:
                if free:
                    raise Wrong("ended", f"{holder.name} has ended and does not show {key}, which it held")
                continue
            kept = free and not any(at > holder.ended - 1.0 for at in self.oracle.disk_failed)
            sure = kept and not self.oracle.stepped
            self._as_of_end(holder, entry, sure, last)
            if kept:
                self._on_record(holder, view, key, holder.ended - 0.3, last)
            if sure:
                self._late(holder, entry, last)

    def _as_of_end(self, holder: Holder, entry: DeviceEntry, free: bool, last: float) -> None:
        assert holder.ended is not None
        moments = self.truth.during(entry.key, holder.ended - (0.3 if free else 80.0), last)
        # What changed before the end was seen hides what it was before: then nobody can tell.
        hidden = len(self.truth.during(entry.key, holder.ended - 0.3, holder.ended + 1.2)) > 1
        allowed = {moment.merged.health for moment in moments} | (set() if free and not hidden else {Health.UNKNOWN})
        if self.truth.late.get(entry.key) and any(begin <= last and end >= holder.ended for begin, end in self.oracle.stalls):
            allowed.add(Health.UNHEALTHY)  # what was said while nobody read may have been said at once
        if entry.health not in allowed and self.oracle.unsure.get(entry.key, 0.0) < holder.ended:
            so = " or ".join(sorted(allowed))
            raise Wrong("as of the end", f"{holder.name} ended {holder.ended - START:.3f}, shows {entry.key} {entry.health}, was {so}")

    def _late(self, holder: Holder, entry: DeviceEntry, last: float) -> None:
        assert holder.ended is not None
        served = holder.shares.get(entry.key)
        late = [fault for fault in entry.faults if fault.after_end]
        owed = 0
        for episode in episodes(self.truth.history.get(entry.key, [])):
            if episode.start <= holder.ended:
                continue
            told = any(contains(one.message, merged.parts) and self._then(one, episode) for one in late for merged in episode.every)
            if served is not None and episode.start > served + WITHIN and told and self._free(served - 1, episode.start):
                raise Wrong("late", f"{holder.name} shows a fault of {entry.key} that another pod had: {episode.last.parts}")
            in_time = episode.start < holder.ended + WINDOW - 2.0 and (served is None or episode.start < served - 1.0)
            owed += 1
            if self._unknown(holder, episode.start) or not in_time or owed > 2 or told or not self._owed(holder, entry.key, episode):
                continue
            known = any(contains(fault.message, merged.parts) for fault in entry.faults for merged in episode.every)
            if not (known and episode.start <= last) and self._free(episode.start - 1.0, episode.start + 1.0):
                raise Wrong(
                    "late", f"{holder.name} ended {holder.ended - START:.3f} and has not been told of {entry.key} {episode.last.parts}"
                )

    def _unknown(self, holder: Holder, at: float) -> bool:
        """Whether there was a pod of which nobody knew what it held: it may have been this one's devices."""
        others = [one for one in self.oracle.holders.values() if one is not holder]
        gone = any(one.ended is not None and not one.shown and self._over(one, one.ended) > (holder.ended or 0.0) - 1.0 for one in others)
        return gone or any(one.created < at + 0.5 and at < one.since + WITHIN for one in others)

    def _over(self, holder: Holder, ended: float) -> float:
        """When the pod was over at the latest, as far as anybody can tell: one that does not say when it ended, when that was seen."""
        for begin, until in () if holder.told else sorted(self.oracle.upsets):
            ended = max(ended, until) if begin <= ended + 1.0 else ended
        return ended

    @staticmethod
    def _then(fault: FaultEntry, episode: Episode) -> bool:
        """Whether the fault began with the episode. Where this is asked the clock was never set."""
        return fault.start is not None and abs(fault.start.timestamp() - WALL - episode.start) < 1.0

    def _free(self, begin: float, end: float) -> bool:
        return not any(start <= end and until >= begin for start, until in self.oracle.upsets)

    # --- events ----------------------------------------------------------------------------------------------------------------

    def _events(self) -> None:
        said: dict[str, list[str]] = {}
        for event in self.world.api.events.values():
            uid, message = event["involvedObject"]["uid"], event["message"]
            holder = self.oracle.holders.get(uid)
            strange = [key for key in KEYS if str(key) in message and (holder is None or key not in holder.keys)]
            if strange and (holder is None or not holder.planted or (holder.shown and not self.oracle.disk_failed)):
                raise Wrong("events", f"an event of {event['involvedObject']['name']} names {strange[0]}, which it does not hold")
            if event["reason"] == "DeviceUnhealthy":
                said.setdefault(uid, []).append(message)
        now = self.world.loop.now
        for holder in self.oracle.holders.values():
            for key in holder.keys:
                for episode in episodes(self.truth.history.get(key, [])):
                    begin = max(episode.start, holder.since + WITHIN)
                    over = min(one for one in (episode.end, holder.ended, now) if one is not None)
                    if over - begin < LONG_ENOUGH or not self._free(begin - 1.0, begin + LONG_ENOUGH) or holder.upset_until >= begin:
                        continue
                    if self.oracle.unsure.get(key, 0.0) >= begin:
                        continue
                    if not any(str(key) in text or " devices: " in text for text in said.get(holder.uid, ())):
                        raise Wrong("events", f"no event tells that {key} of {holder.name} was Unhealthy: {episode.last.parts}")


def judge(world: "World") -> None:
    """Raises Wrong."""
    Verdict(world).judge()


def still(oracle: Oracle) -> bool:
    """Whether nothing has changed lately."""
    now = oracle.world.loop.now
    return all(not moments or moments[-1].at < now - STILL for moments in oracle.truth.history.values())
