"""Devices and nodes of a cluster, from the slices drivers publish, the pods that hold devices, and what agents say. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from podvitals.claim.cluster import Node
from podvitals.claim.resource import Attribute, ResourceSlice
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.inventory import Agents, AgentView, PodView, last_known, silence
from podvitals.pod.entry import DeviceEntry, FaultEntry


@dataclass(frozen=True, slots=True)
class Reported:
    """What the agent of `node` says of a device, held by a pod or not. `since`: Unix seconds."""

    node: str
    health: Health
    message: str = ""
    action: str = ""
    since: float | None = None
    faults: tuple[FaultEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device. `health` None: nobody says (no pod holds it and no agent could be asked). `holders` None: pods may not be read.
    `published`: a ResourceSlice lists it."""

    key: DeviceKey
    node: str = ""
    health: Health | None = None
    message: str = ""
    action: str = ""
    since: float | None = None
    holders: tuple[str, ...] | None = ()
    published: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[FaultEntry, ...] = ()
    speaker: str = "nobody"

    @property
    def rank(self) -> tuple[int, DeviceKey]:
        return (-(self.health or Health.UNKNOWN).badness, self.key)


@dataclass(frozen=True, slots=True)
class NodeView:
    """`broken` counts devices that are Unhealthy, `affected` the pods that hold one (None: pods may not be read). `ready`
    None: the Node could not be read."""

    name: str
    ready: bool | None
    agent: AgentView
    drivers: tuple[str, ...]
    devices: int
    broken: int
    unknown: int
    affected: int | None


def device_views(
    slices: Iterable[ResourceSlice], pods: Iterable[PodView] | None, reported: Mapping[DeviceKey, Reported]
) -> tuple[DeviceView, ...]:
    """Every device that is published, held or reported, the worst first. An agent's own word outranks what stands on the pods, which are
    None where they may not be read."""
    published = {
        DeviceKey(s.spec.driver, s.spec.pool.name, device.name): (s.spec.node_name or device.node_name or "", device.attributes)
        for s in slices
        for device in s.spec.devices
    }
    held: dict[DeviceKey, list[tuple[PodView, DeviceEntry]]] = {}
    for view in pods or ():
        for entry in view.entries:
            if entry.driver:
                held.setdefault(entry.key, []).append((view, entry))
    keys = published.keys() | held.keys() | reported.keys()
    views = (_device(key, published.get(key), held.get(key, []), reported.get(key)) for key in keys)
    views = views if pods is not None else (replace(view, holders=None) for view in views)
    return tuple(sorted(views, key=lambda view: view.rank))


def _device(
    key: DeviceKey,
    published: tuple[str, Mapping[str, Attribute]] | None,
    held: list[tuple[PodView, DeviceEntry]],
    reported: Reported | None,
) -> DeviceView:
    node, attributes = published or ("", {})
    holding = [(view, entry) for view, entry in held if not view.ended]
    base = DeviceView(
        key,
        node,
        holders=tuple(sorted({f"{view.name} ({entry.container})" for view, entry in holding})),
        published=published is not None,
        attributes={name: _value(attribute) for name, attribute in sorted(attributes.items())},
    )
    if reported is not None:
        return _saying(base, reported, f"agent on {reported.node}")
    if holding:
        view, entry = max(holding, key=lambda pair: pair[1].health.badness)
        since = entry.since.timestamp() if entry.since else None
        word = Reported(view.pod.spec.node_name, entry.health, entry.message, entry.action, since, entry.faults)
        return _saying(base, word, f"{view.source}, on pod {view.name}")
    return base


def _saying(base: DeviceView, word: Reported, speaker: str) -> DeviceView:
    return replace(
        base,
        node=base.node or word.node,
        health=word.health,
        message=word.message,
        action=word.action,
        since=word.since,
        faults=word.faults,
        speaker=speaker,
    )


def _value(attribute: Attribute) -> str:
    values = (attribute.string, attribute.version, attribute.integer, attribute.boolean)
    found = next((value for value in values if value is not None), "")
    return str(found).lower() if isinstance(found, bool) else str(found)


def node_views(
    nodes: Iterable[Node], agents: Agents, devices: Iterable[DeviceView], pods: Iterable[PodView] | None
) -> tuple[NodeView, ...]:
    """Every node that exists, has an agent, or has devices; by name."""
    ready = {node.metadata.name: node.ready for node in nodes}
    by_node: dict[str, list[DeviceView]] = {}
    for device in devices:
        by_node.setdefault(device.node, []).append(device)
    affected: dict[str, int] = {}
    for view in pods or ():
        if not view.ended and view.health is Health.UNHEALTHY:
            affected[view.pod.spec.node_name] = affected.get(view.pod.spec.node_name, 0) + 1
    names = sorted((ready.keys() | agents.keys() | by_node.keys()) - {""})
    return tuple(
        NodeView(
            name,
            ready.get(name),
            agents.of(name),
            tuple(sorted({device.key.driver for device in by_node.get(name, [])})),
            len(by_node.get(name, [])),
            sum(device.health is Health.UNHEALTHY for device in by_node.get(name, [])),
            sum(device.health in (None, Health.UNKNOWN) for device in by_node.get(name, [])),
            affected.get(name, 0) if pods is not None else None,
        )
        for name in names
    )


def with_silence(
    views: Iterable[DeviceView], agents: Mapping[str, AgentView], now: float, say: Callable[[float], str] = str
) -> tuple[DeviceView, ...]:
    """`views`, where those nobody says anything of are Unknown for the silence of their node's agent, as those that pods hold are."""
    quiet = {node: agent for node, agent in agents.items() if agent.renewed is not None and not agent.alive(now)}
    told = (
        _saying(view, Reported(view.node, Health.UNKNOWN, silence(quiet[view.node], say), since=quiet[view.node].renewed), view.speaker)
        if view.health is None and view.node in quiet
        else view
        for view in views
    )
    return tuple(sorted(told, key=lambda view: view.rank))


def silenced(
    reported: Mapping[DeviceKey, Reported], agents: Mapping[str, AgentView], now: float, say: Callable[[float], str] = str
) -> dict[DeviceKey, Reported]:
    """`reported`, where agents that are no longer alive have said nothing but what was last known (rule 8)."""
    silent = {node: silence(agent, say) for node, agent in agents.items() if not agent.alive(now)}
    return {
        key: _unknown(word, silent[word.node], agents[word.node].renewed) if word.node in silent else word for key, word in reported.items()
    }


def _unknown(word: Reported, why: str, since: float | None) -> Reported:
    return Reported(word.node, Health.UNKNOWN, last_known(why, word.health, word.message), "", since, word.faults)
