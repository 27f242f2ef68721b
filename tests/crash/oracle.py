"""What a reader may be told. Pure: the truth, what a reader sees and `now` go in, what is wrong comes out.

A claim is a health other than Unknown that a reader believes of a device: Unknown is always allowed while the faults last. It rests on its
*backing*, the last moment at which it was so and some process of the driver could say so. It is false

* always after the lease of that backing, plus WORST: what an agent may take that cannot write, until its own Lease has ended;
* with the agent's way to the API in order: after the lease;
* with the driver in order too: at once.

ALLOWANCE is added to each, and the time in which this process itself got no turn. A claim that comes back after its end and is taken back
within BLIP is counted, not condemned: a patch that was on its way through a stalled network may arrive late.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.inventory import PodView
from tests.crash.truth import Path, Truth, serials

ALLOWANCE = 1.0
BLIP = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says of a device of a pod that it is so; `where`: annotation, condition or field."""

    uid: str
    pod: str
    key: DeviceKey
    health: Health
    serial: int
    where: str

    def __str__(self) -> str:
        fault = f" n={self.serial}" if self.serial else ""
        return f"{self.where} of pod {self.pod}: {self.key.device} {self.health}{fault}"


@dataclass(frozen=True, slots=True)
class Wrong:
    """`kind`: false Healthy, stale fault, invented, stranger, lost, false at the end, not converged, stuck, died, traceback."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Ways:
    """`agent`: between the agent's ear and the API; `kubelet`: the same of the lab's kubelet; `drivers`: each driver's own."""

    agent: Path
    kubelet: Path
    drivers: Mapping[str, Path]


def claims_of_agent(view: PodView, held: frozenset[DeviceKey]) -> tuple[list[Claim], list[Wrong]]:
    """What a reader believes by the agent's word, and what it must not say at all."""
    uid, name = view.pod.metadata.uid, view.name
    wrong = [Wrong("stranger", f"pod {name} is said to hold {entry.key}") for entry in view.entries if entry.key not in held]
    if view.newer is not None:
        # The condition is ahead of the annotation: of single devices nothing is known, but that all are healthy may be said.
        told = held if view.newer.health is Health.HEALTHY else frozenset[DeviceKey]()
        return [Claim(uid, name, key, Health.HEALTHY, 0, "condition") for key in sorted(told)], wrong
    found = []
    for entry in view.entries:
        if entry.key in held and entry.health is not Health.UNKNOWN:
            found.append(Claim(uid, name, entry.key, entry.health, _serial(entry.message), "annotation"))
    return found, wrong


def claims_of_kubelet(pod: Pod, held: frozenset[DeviceKey]) -> list[Claim]:
    """What the field says."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    found = []
    for status in pod.status.container_statuses:
        for allocated in status.allocated_resources_status:
            for resource in allocated.resources:
                key = next((key for key in held if named(resource.resource_id, key)), None)
                if key is not None and resource.health != Health.UNKNOWN:
                    found.append(Claim(pod.metadata.uid, name, key, Health(resource.health), _serial(resource.message or ""), "field"))
    return found


def named(resource_id: str, key: DeviceKey) -> bool:
    """Whether the kubelet's name, a CDI id of the SDK's, means this device."""
    return resource_id == str(key) or (resource_id.startswith(f"{key.driver}/") and resource_id.endswith(f"-{key.device}"))


def _serial(message: str) -> int:
    return max(serials(message), default=0)


def ends(claim: Claim, truth: Truth, ways: Ways, worst: float, now: float) -> float:
    """Until when the claim may be made; `inf` while it is true; `-inf` for what never was."""
    backing = truth.backing(claim.key, claim.health, claim.serial, now)
    if backing is None:
        return -inf
    driver = ways.drivers[claim.key.driver]
    way = ways.kubelet if claim.where == "field" else ways.agent
    lease = truth.good_until(claim.key, backing)
    limits = [lease + worst] if claim.where != "field" else []
    if (good := way.good_from) < inf:
        limits.append(max(lease, good))
        ceased = truth.ceased(claim.key, claim.health, claim.serial, now)
        if (heard := driver.good_from) < inf and ceased < inf:
            limits.append(max(ceased, heard, good))
    return min(limits, default=inf)


class Judge:
    """Sees all claims again and again; condemns each once."""

    def __init__(self, truth: Truth, ways: Ways, worst: float) -> None:
        self._truth, self._ways, self._worst = truth, ways, worst
        self._late: dict[Claim, float] = {}
        self._condemned: set[Claim] = set()
        self.blips: list[tuple[Claim, float]] = []
        self.seen = 0

    def judge(self, claims: Iterable[Claim], now: float, stalled: float) -> list[Wrong]:
        """`stalled`: seconds of late in which this process got no turn."""
        wrong: list[Wrong] = []
        present = set(claims)
        for claim in present:
            self.seen += 1
            end = ends(claim, self._truth, self._ways, self._worst, now)
            if claim.health is not Health.HEALTHY and self._truth.of(claim.key, claim.serial) is None:
                self._condemn(claim, Wrong("invented", f"{claim}, which it never was"), wrong)
            elif now > end + ALLOWANCE + stalled:
                since = self._late.setdefault(claim, now)
                if now - since > BLIP + stalled:
                    kind = "false Healthy" if claim.health is Health.HEALTHY else "stale fault"
                    self._condemn(claim, Wrong(kind, f"{claim}, {now - end:.2f} s after its end"), wrong)
        for claim in [claim for claim in self._late if claim not in present]:
            since = self._late.pop(claim)
            if claim not in self._condemned:
                self.blips.append((claim, now - since))
            self._condemned.discard(claim)
        return wrong

    def _condemn(self, claim: Claim, why: Wrong, wrong: list[Wrong]) -> None:
        if claim not in self._condemned:
            self._condemned.add(claim)
            wrong.append(why)
