"""A pod as a reader may believe it: the agent's annotation if the agent lives, the kubelet's own field otherwise. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from podvitals.claim.cluster import Lease
from podvitals.claim.holdings import Holding, holdings
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.claim.times import unix
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.errors import InvalidInput
from podvitals.pod.agreement import Agreement, allocated, compare, health_of
from podvitals.pod.cause import Cause, causes
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, FaultEntry, Omitted, PodDevices, decode, moment

AGENT_SILENT_AFTER = 40.0
"""Seconds without a renewal of its Lease after which an agent's word is no longer taken (it renews every 10 s)."""
UNTOLD = "podvitals.dev/untold"
"""The annotation of an agent's Lease that names the pods it cannot write: JSON, uid → since when (RFC 3339)."""


def lease_name(node: str) -> str:
    """The Lease an agent renews on `node`."""
    return f"podvitals-{node}"


class Source(StrEnum):
    AGENT = "agent"
    KUBELET = "kubelet"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class AgentView:
    """`renewed`: Unix seconds of the last sign of life, None if there was never one. `hidden`: the reader has no right to see the Lease.
    `untold`: the pods (by uid) that it says it could not write, since when (Unix seconds)."""

    node: str
    renewed: float | None
    hidden: bool = False
    untold: Mapping[str, float] = field(default_factory=dict)

    def alive(self, now: float) -> bool:
        # A Lease from the future tells of clocks that disagree, and not of an agent that lives.
        return self.hidden or (self.renewed is not None and abs(now - self.renewed) <= AGENT_SILENT_AFTER)


class Agents(dict[str, AgentView]):
    """The agents of a cluster by node, as their Leases tell. `hidden`: the reader has no right to see Leases."""

    def __init__(self, views: Iterable[AgentView] = (), *, hidden: bool = False) -> None:
        super().__init__((view.node, view) for view in views)
        self.hidden = hidden

    def of(self, node: str) -> AgentView:
        """That of a node; one that has left no Lease, or none that may be seen, is no sign of life."""
        return self.get(node) or AgentView(node, None, self.hidden)


def agent_view(node: str, lease: Lease | None) -> AgentView:
    if lease is None:
        return AgentView(node, None)
    return AgentView(node, unix(lease.spec.renew_time), untold=_untold(lease.metadata.annotations.get(UNTOLD)))


def _untold(text: str | None) -> dict[str, float]:
    try:
        named = msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
    return {uid: unix(since) or 0.0 for uid, since in named.items()}


_NONE_OMITTED = Omitted()
Part = TypeVar("Part", DeviceEntry, FaultEntry)
_TEXTS = {kind: tuple(field.name for field in msgspec.structs.fields(kind) if field.type is str) for kind in (DeviceEntry, FaultEntry)}
_SAID = {"True": Health.HEALTHY, "False": Health.UNHEALTHY, "Unknown": Health.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Newer:
    """What the agent's condition says while its annotation, written at most once a second, still says something else."""

    health: Health
    message: str


@dataclass(frozen=True, slots=True)
class PodView:
    """`entries` is what may be believed now, worst first. `causes` rests on the record, which a silent agent does not take away. `untold`:
    since when (Unix seconds) the agent, alive, could not write this pod; None where it could. `agreement` is about what it wrote last."""

    pod: Pod
    source: Source
    agent: AgentView
    entries: tuple[DeviceEntry, ...] = ()
    omitted: Omitted = _NONE_OMITTED
    silent: bool = False
    untold: float | None = None
    newer: Newer | None = None
    agreement: Agreement = Agreement.NOT_ASKED
    difference: str = ""
    causes: tuple[Cause, ...] = ()
    ended: bool = False
    trouble: str = ""

    @property
    def name(self) -> str:
        return f"{self.pod.metadata.namespace}/{self.pod.metadata.name}"

    @property
    def health(self) -> Health | None:
        """The worst health of its devices; None for a pod without devices."""
        if self.newer is not None:
            return self.newer.health
        healths = [entry.health for entry in self.entries]
        healths += [Health.UNHEALTHY] * bool(self.omitted.unhealthy) + [Health.UNKNOWN] * bool(self.omitted.unknown)
        return Health.worst(healths) if healths else None

    @property
    def unplaced(self) -> str:
        """Why it is on no node yet; "" where it is on one, or nobody says."""
        if self.pod.spec.node_name:
            return ""
        return next((c.message or "" for c in self.pod.status.conditions if (c.type, c.status) == ("PodScheduled", "False")), "")

    @property
    def doubted(self) -> bool:
        """Whether the agent's last word is not taken: it is silent, or could not write this pod."""
        return self.silent or self.untold is not None

    def count(self, health: Health | None = None) -> int:
        """How many distinct devices the pod holds, or holds in `health`."""
        listed = len({device_name(entry) for entry in self.entries if health in (None, entry.health)})
        left = {Health.HEALTHY: self.omitted.healthy, Health.UNKNOWN: self.omitted.unknown, Health.UNHEALTHY: self.omitted.unhealthy}
        return listed + (self.omitted.total if health is None else left[health])


def device_name(entry: DeviceEntry) -> str:
    """`driver/pool/device`; what the kubelet calls it (a CDI id) where no more is known."""
    return str(entry.key) if entry.driver else entry.device


def pod_view(
    pod: Pod, agent: AgentView, now: float, claims: Mapping[str, ResourceClaim] | None = None, say: Callable[[float], str] = str
) -> PodView:
    """`agent` is that of the pod's node; `claims` by name, of the pod's namespace; `say` writes a moment (Unix s) for a reader."""
    text = pod.metadata.annotations.get(ANNOTATION)
    pod, trouble = _harmless(pod), ""
    if text is not None:
        try:
            return _from_agent(pod, _printable(decode(text, f"{pod.metadata.namespace}/{pod.metadata.name}")), agent, now, say)
        except InvalidInput as error:
            trouble = str(error)
    entries = tuple(sorted(_from_field(pod, claims or {}), key=lambda entry: entry.rank))
    source = Source.KUBELET if any(allocated(pod)) else Source.NOBODY
    return PodView(pod, source, agent, entries, causes=causes(pod, entries), ended=pod.ended, trouble=trouble)


def _harmless(pod: Pod) -> Pod:
    """Names are checked by the API server; what its status says is written by others, and may drive a terminal."""
    text = msgspec.json.encode(pod.status).decode()
    # A backslash is JSON's way to write a control character, and now and then a quotation mark.
    if "\\" not in text and text.isprintable():
        return pod
    return msgspec.structs.replace(pod, status=_clean_all(pod.status))


def _clean_all(part: Any) -> Any:
    match part:
        case str():
            return part if part.isprintable() else clean(part)
        case tuple():
            return tuple(map(_clean_all, part))
        case msgspec.Struct():
            changes = {name: _clean_all(getattr(part, name)) for name in part.__struct_fields__}
            return msgspec.structs.replace(part, **changes)
    return part


def _printable(devices: PodDevices) -> PodDevices:
    """Whoever may create a pod may write its annotation too, with names that drive a terminal."""
    entries = [_cleaned(entry) for entry in devices.entries]
    whole = [msgspec.structs.replace(entry, faults=tuple(map(_cleaned, entry.faults))) if entry.faults else entry for entry in entries]
    return msgspec.structs.replace(devices, entries=tuple(whole))


def _cleaned(part: Part) -> Part:
    changes = {name: clean(text) for name in _TEXTS[type(part)] if not (text := getattr(part, name)).isprintable()}
    return msgspec.structs.replace(part, **changes) if changes else part


def _from_agent(pod: Pod, devices: PodDevices, agent: AgentView, now: float, say: Callable[[float], str]) -> PodView:
    # What was written of an ended pod is history: it stays true however long the agent is silent. Only the pod itself says that it ended.
    silent = not pod.ended and not agent.alive(now)
    untold = None if silent or pod.ended else agent.untold.get(pod.metadata.uid)
    why = silence(agent, say) if silent else "" if untold is None else _not_told(agent, untold, say)
    quiet = agent.renewed if silent else untold
    entries = tuple(_silenced(entry, why, quiet) for entry in devices.entries) if why else devices.entries
    omitted = Omitted(unknown=devices.omitted.total) if why else devices.omitted
    agreement, difference = (Agreement.ENDED, "") if pod.ended else compare(pod, devices)
    found = causes(pod, devices.entries)
    newer = None if why or pod.ended else _newer(pod, devices)
    return PodView(pod, Source.AGENT, agent, entries, omitted, silent, untold, newer, agreement, difference, found, ended=pod.ended)


def _newer(pod: Pod, devices: PodDevices) -> Newer | None:
    condition = pod.condition(CONDITION)
    told = _SAID.get(condition.status) if condition is not None else None
    left = devices.omitted
    written = [entry.health for entry in devices.entries]
    written += [Health.UNHEALTHY] * bool(left.unhealthy) + [Health.UNKNOWN] * bool(left.unknown)
    if condition is None or told is None or not written or told is Health.worst(written):
        return None
    return Newer(told, clean(condition.message or ""))


def silence(agent: AgentView, say: Callable[[float], str]) -> str:
    """In words: the agent is silent, and since when."""
    since = f"since {say(agent.renewed)}" if agent.renewed is not None else "and has left no Lease"
    return f"agent on {agent.node} silent {since}"


def _not_told(agent: AgentView, since: float, say: Callable[[float], str]) -> str:
    return f"agent on {agent.node} could not write this pod since {say(since)}"


def _silenced(entry: DeviceEntry, why: str, since: float | None) -> DeviceEntry:
    """The fault on record says what was to be done about what was last known."""
    message = last_known(why, entry.health, entry.message)
    when = None if since is None else moment(since)
    return msgspec.structs.replace(entry, health=Health.UNKNOWN, message=message, action="", since=when)


def last_known(why: str, health: Health, message: str) -> str:
    """Why nothing newer is known, and what was."""
    return clean(f"{why}; last known: {health}" + (f": {message}" if message else ""))


def _from_field(pod: Pod, claims: Mapping[str, ResourceClaim]) -> Iterable[DeviceEntry]:
    """The kubelet's field as entries; a resourceID is traced to its device where the claims leave no doubt."""
    held = holdings(pod, claims)
    for status, listed, kind in allocated(pod):
        candidates = [holding for holding in held if holding.container == status.name and holding.entry == listed.name]
        claim, _, request = listed.name.removeprefix("claim:").partition("/")
        merged = len({holding.key for holding in candidates}) > len(listed.resources)
        for resource in listed.resources:
            key = _traced(resource.resource_id, candidates, alone=len(listed.resources) == 1)
            health, message = health_of(resource.health), clean(resource.message or "")
            if merged and health is Health.HEALTHY:
                # Devices with one CDI id are one resource of the field, and an Unhealthy one of them may read Healthy (CONTRACT §5).
                health, message = (
                    Health.UNKNOWN,
                    "the kubelet shows fewer devices than the claim has: which it means is not known",
                )
            yield DeviceEntry(
                container=status.name,
                kind=kind,
                entry=listed.name,
                claim=claim if listed.name.startswith("claim:") else "",
                request=request,
                driver=key.driver if key else "",
                pool=key.pool if key else "",
                device=key.device if key else resource.resource_id,
                health=health,
                message=message,
            )


def _traced(resource_id: str, candidates: list[Holding], *, alone: bool) -> DeviceKey | None:
    if alone and len(candidates) == 1:
        return candidates[0].key
    exact = [holding.key for holding in candidates if str(holding.key) == resource_id]
    return exact[0] if exact else None
