"""What is wrong with what the API server shows, and with what drivers were asked to do. Pure: truth, order and `now` in, wrongs out.

* A health other than Unknown that a pod's field, or the agent's annotation, says of a device is a claim, and rests on the last moment at
  which it was so and the driver could say so (tests/crash/oracle.py). With relay and kubelet (or agent) in order it may be made until that
  moment's lease has ended, and with the driver in order as well no longer than it is so. While the relay hangs, the field may make it for
  the relay's own lease, with the agent in order. While relay or kubelet is down, the field is what it was.
* Unknown may be said while something on the way is out of order, and for limits.NEEDLESS otherwise.
* A prepare may fail where the kubelet was killed since the pod's last attempt, or the relay while the call was under way, and nowhere else;
  without a keeper of the relay's sockets also while the relay is not back.
* A pod runs, and is gone, within the limits, counted from the end of what kept it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from tests.cluster.api import Object
from tests.cluster.subjects import entries, field_of
from tests.crash.oracle import Claim, named
from tests.crash.truth import Path, Spans, Truth, serials
from tests.crash_cluster import limits

PLACES: Mapping[str, tuple[str, str]] = {"field": ("relay", "kubelet"), "annotation": ("relay", "agent")}
"""Where health is shown, and by way of whom."""


class Order:
    """Which parts are as they should be: agent, relay, keeper, kubelet, driver:sdk, driver:go."""

    def __init__(self, parts: Iterable[str]) -> None:
        self.paths = {part: Path(limits.SETTLES) for part in parts}
        self.killed = {part: Spans() for part in self.paths}
        """From its end until it is seen to work again."""
        self.stopped = {part: Spans() for part in self.paths}
        self.wrong = Spans()
        """While any part is not as it should be."""
        self.unpublished = Spans()
        """While some driver has no ResourceSlice: no pod is placed."""

    def broke(self, part: str, how: str, at: float) -> None:
        self.paths[part].broke(how)
        (self.stopped if how == "stopped" else self.killed)[part].begin(at)
        self.wrong.begin(at)

    def mended(self, part: str, how: str, at: float) -> None:
        """It works again."""
        self.paths[part].mended(how, at)
        self.paths[part].worked(at)
        (self.stopped if how == "stopped" else self.killed)[part].end(at)
        if all(path.good_from < inf for path in self.paths.values()):
            self.wrong.end(at)

    def settled(self) -> None:
        for path in self.paths.values():
            path.settled()

    def good_from(self, *parts: str) -> float:
        return max(self.paths[part].good_from for part in parts)

    def undone(self, since: float, now: float) -> bool:
        """Whether a prepare that was tried between these, and failed, may have: the kubelet was killed, or not yet back, or the relay was
        killed while the call was under way, or was not yet back and no keeper held its sockets."""
        if self.killed["kubelet"].last(since, now) is not None:
            return True
        if self.killed["relay"].last(since, now) is None:
            return False
        at = self.killed["relay"].began()
        kept = all(spans["keeper"].last(at, now) is None for spans in (self.killed, self.stopped))
        return not kept or since <= at >= now - limits.UNDER_WAY


def claims_of(pod: Object, held: Collection[DeviceKey]) -> list[Claim]:
    """What the pod's field says, and the agent's annotation. Of a pod that does not run yet the field counts for nothing: it is what it was
    when the kubelet last turned from preparing it, which waits for drivers."""
    shown = field_of(pod) if pod["status"].get("phase") == "Running" else {}
    said = [("field", resource, health, message) for resource, (health, message) in shown.items()]
    said += [
        ("annotation", f"{one['driver']}/{one['pool']}/{one['device']}", one["health"], one.get("message", "")) for one in entries(pod)
    ]
    found = []
    for where, resource, health, message in said:
        key = next((key for key in held if named(resource, key)), None)
        if key is not None:
            uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
            found.append(Claim(uid, name, key, Health(health), max(serials(message), default=0), where))
    return found


def end_of(claim: Claim, truth: Truth, order: Order, now: float) -> float:
    """Until when the claim, which is not Unknown, may be made; `inf` while it is true or nobody could tell; `-inf` for what never was."""
    backing = truth.backing(claim.key, claim.health, claim.serial, now)
    if backing is None:
        return -inf
    lease, way = truth.good_until(claim.key, backing), order.good_from(*PLACES[claim.where])
    if way == inf and claim.where == "field":
        hung = order.stopped["relay"].open and not order.killed["relay"].open
        told = order.good_from("kubelet", "agent")
        return max(order.stopped["relay"].began() + limits.HANGS, told) if hung and told < inf else inf
    if way == inf:
        return inf
    ends = [max(lease, way)]
    driver = order.good_from(f"driver:{which(claim.key)}")
    if driver < inf and (ceased := truth.ceased(claim.key, claim.health, claim.serial, now)) < inf:
        ends.append(max(ceased, driver, way))
    return min(ends)


def which(key: DeviceKey) -> str:
    return key.driver.partition(".")[0]


@dataclass(slots=True)
class Pod:
    """One pod's way. Times are CLOCK_MONOTONIC; `inf`: not yet."""

    name: str
    uid: str
    created: float
    lasts: float = inf
    """Seconds after which its container ends by itself."""
    runs: float = inf
    """It ran, or had run."""
    ended: float = inf
    """Succeeded or Failed."""
    deleted: float = inf
    """Its deletion was asked for."""
    gone: float = inf
    failures: list[float] = field(default_factory=list)
    """When prepares of it failed."""
    excused: int = 0
    condemned: bool = False

    def over(self, now: float) -> bool:
        """Its container has ended, or is about to. The kubelet shows no more of it until all is unprepared, which waits for its driver."""
        return now > min(self.runs + self.lasts, self.deleted)

    def failed(self, at: float, order: Order) -> bool:
        """A prepare failed. Whether that is within the limits."""
        since = self.failures[-1] if self.failures else self.created
        self.failures.append(at)
        excused = order.undone(since, at)
        self.excused += excused
        return excused

    def late(self, order: Order, now: float) -> str:
        """What it has not done in time; empty: nothing. While something is out of order nothing is late."""
        if self.condemned:
            return ""
        quiet = max(order.wrong.ended(), order.unpublished.ended())  # inf while it goes on
        if self.deleted < inf:
            due = max(self.deleted, quiet) + limits.ENDS
            return f"is not gone {now - self.deleted:.0f} s after its deletion" if self.gone == inf and now > due else ""
        if self.runs < inf:
            due = max(self.runs + self.lasts, quiet) + limits.ENDS
            return f"has not ended {now - self.runs:.0f} s after it ran" if self.ended == inf and now > due else ""
        retried = self.failures[-1] + limits.RETRIED if self.failures else 0.0
        due = max(self.created, quiet, retried) + limits.STARTS
        return f"does not run {now - self.created:.0f} s after it was made" if now > due else ""


def effects(lines: Iterable[tuple[str, str]], given: Mapping[str, frozenset[str]], gone: frozenset[str]) -> list[str]:
    """What is wrong with what a driver did, in the order in which it did it: (prepared|unprepared, claim). `given`: a claim's devices;
    `gone`: claims whose pods are gone, which nobody may hold any more."""
    wrong: list[str] = []
    holder: dict[str, str] = {}
    released: set[str] = set()
    for what, claim in lines:
        for device in given.get(claim, ()):
            if what == "unprepared":
                if holder.get(device) == claim:
                    del holder[device]
            elif holder.setdefault(device, claim) != claim:
                wrong.append(f"{device} was prepared for claim {claim} while claim {holder[device]} held it")
        if what == "unprepared":
            released.add(claim)
        elif claim in released:
            wrong.append(f"claim {claim} was prepared again after it had been unprepared")
    wrong += [f"{device} is still prepared for claim {claim}, whose pod is gone" for device, claim in holder.items() if claim in gone]
    return wrong
