"""Which devices a pod's claims get: a pure search over a snapshot of one node's devices.

Upstream's rules: a pool counts with its newest complete generation only; a request takes `count` devices or all that match; selectors of
the class and of the request must all hold; taints must be tolerated; the first sub-request that works wins; constraints tie attributes of
several devices together; a device is never given twice, except to admin access. All claims of a pod are satisfied together or none is.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podvitals.claim.resource import (
    DeviceClass,
    DeviceConstraint,
    DeviceSelector,
    DeviceToleration,
    ResourceClaim,
    ResourceSlice,
    SliceDevice,
    SubRequest,
)
from podvitals.device.key import DeviceKey
from podvitals.lab.scheduler.selector import SelectorFailed, attribute_value

Matcher = Callable[[str, str, SliceDevice], bool]
"""(expression, driver, device) → whether it matches; raises SelectorFailed."""

LONGEST_SEARCH = 20_000
"""Steps of backtracking before the search gives up and says so."""


@dataclass(frozen=True, slots=True)
class Candidate:
    key: DeviceKey
    device: SliceDevice


@dataclass(frozen=True, slots=True)
class Given:
    """One device for one request of one claim; `request` is `name` or `name/sub-request`, `wanted` what asked for it."""

    claim: str
    request: str
    key: DeviceKey
    wanted: SubRequest


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the pod cannot have its devices now."""

    reason: str


@dataclass(slots=True)
class Counted:
    """What became of the devices that one request looked at, for the person who waits."""

    free: list[Candidate] = field(default_factory=list)
    considered: int = 0
    not_of_class: int = 0
    not_selected: int = 0
    tainted: int = 0
    taken: int = 0

    def __str__(self) -> str:
        parts = [f"{self.considered} device{'s' if self.considered != 1 else ''} on this node considered"]
        parts += [f"{self.not_of_class} not of the class"] if self.not_of_class else []
        parts += [f"{self.not_selected} not matching the request's selectors"] if self.not_selected else []
        parts += [f"{self.tainted} tainted"] if self.tainted else []
        parts += [f"{self.taken} already allocated"] if self.taken else []
        return ", ".join(parts)


def node_devices(slices: Sequence[ResourceSlice], node: str) -> list[Candidate]:
    """The devices usable on `node`: of each pool the newest generation, if all its slices are there, in a stable order."""
    newest: dict[tuple[str, str], int] = {}
    for piece in slices:
        pool = (piece.spec.driver, piece.spec.pool.name)
        newest[pool] = max(piece.spec.pool.generation, newest.get(pool, 0))
    pools: dict[tuple[str, str], list[ResourceSlice]] = {}
    for piece in slices:
        if piece.spec.pool.generation == newest[piece.spec.driver, piece.spec.pool.name]:
            pools.setdefault((piece.spec.driver, piece.spec.pool.name), []).append(piece)
    found = [
        Candidate(DeviceKey(driver, pool, device.name), device)
        for (driver, pool), pieces in pools.items()
        if len(pieces) == pieces[0].spec.pool.resource_slice_count
        for piece in pieces
        for device in piece.spec.devices
        if _on_node(piece, device, node)
    ]
    return sorted(found, key=lambda candidate: _natural(candidate.key))


def in_use(claims: Sequence[ResourceClaim]) -> frozenset[DeviceKey]:
    """Devices some claim holds; admin access does not take a device away from others."""
    return frozenset(
        DeviceKey(result.driver, result.pool, result.device)
        for claim in claims
        if claim.status.allocation is not None
        for result in claim.status.allocation.devices.results
        if not result.admin_access
    )


def allocate(
    claims: Mapping[str, ResourceClaim],
    devices: Sequence[Candidate],
    taken: frozenset[DeviceKey],
    classes: Mapping[str, DeviceClass],
    matcher: Matcher,
) -> tuple[Given, ...] | Refused:
    """Devices for every request of every claim (`claims`: by the name people read in a refusal), or the reason why not."""
    search = _Search(devices, taken, classes, matcher)
    try:
        return search.run(claims)
    except _Impossible as problem:
        return Refused(str(problem))
    except SelectorFailed as problem:  # raised with its place already named
        return Refused(str(problem))


class _Impossible(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Slot:
    """One request: its alternatives, each with the name its devices are given under."""

    claim: str
    name: str
    alternatives: tuple[tuple[str, SubRequest], ...]
    constraints: tuple[DeviceConstraint, ...]


class _Search:
    def __init__(
        self, devices: Sequence[Candidate], taken: frozenset[DeviceKey], classes: Mapping[str, DeviceClass], matcher: Matcher
    ) -> None:
        self.devices, self.taken, self.classes, self.matcher = devices, taken, classes, matcher
        self.counted: dict[tuple[str, str], Counted] = {}
        self.given: list[Given] = []
        self.by_key = {candidate.key: candidate for candidate in devices}
        self.steps = 0

    def run(self, claims: Mapping[str, ResourceClaim]) -> tuple[Given, ...]:
        slots = [slot for name, claim in claims.items() for slot in _slots(name, claim)]
        for slot in slots:
            self._count(slot)
        if not self._fill(slots, 0):
            raise _Impossible(self._together(slots))
        return tuple(self.given)

    def _count(self, slot: _Slot) -> None:
        """Filters once for each alternative, and refuses at once a request that could not be met even alone."""
        shortfalls = []
        for name, wanted in slot.alternatives:
            counted = self.counted[slot.claim, name] = self._filter(slot, name, wanted)
            if (short := _shortfall(wanted, counted)) is None:
                continue
            shortfalls.append(f'request "{name}" of claim "{slot.claim}" wants {short} ({counted})')
        if len(shortfalls) == len(slot.alternatives):
            raise _Impossible("; ".join(shortfalls))

    def _filter(self, slot: _Slot, name: str, wanted: SubRequest) -> Counted:
        device_class = self.classes.get(wanted.device_class_name)
        if device_class is None:
            raise _Impossible(
                f'request "{name}" of claim "{slot.claim}" names device class "{wanted.device_class_name}", which does not exist'
            )
        counted = Counted(considered=len(self.devices))
        for candidate in self.devices:
            if not self._selected(device_class.spec.selectors, f'device class "{device_class.metadata.name}"', candidate):
                counted.not_of_class += 1
            elif not self._selected(wanted.selectors, f'request "{name}" of claim "{slot.claim}"', candidate):
                counted.not_selected += 1
            elif not wanted.admin_access and not _tolerated(candidate.device, wanted.tolerations):
                counted.tainted += 1
            elif candidate.key in self.taken and not wanted.admin_access:
                counted.taken += 1
            else:
                counted.free.append(candidate)
        return counted

    def _selected(self, selectors: Sequence[DeviceSelector], place: str, candidate: Candidate) -> bool:
        for number, selector in enumerate(selectors):
            expression = selector.cel.expression if selector.cel is not None else ""
            try:
                if not self.matcher(expression, candidate.key.driver, candidate.device):
                    return False
            except SelectorFailed as problem:
                raise SelectorFailed(f"{place}: selector #{number} {_short(expression)!r} {problem} (device {candidate.key})") from None
        return True

    def _fill(self, slots: Sequence[_Slot], at: int) -> bool:
        if at == len(slots):
            return True
        slot = slots[at]
        for name, wanted in slot.alternatives:
            counted = self.counted[slot.claim, name]
            if _shortfall(wanted, counted) is None:
                need = len(counted.free) if wanted.allocation_mode == "All" else max(wanted.count, 1)
                if self._choose(slots, at, name, wanted, need, 0):
                    return True
        return False

    def _choose(self, slots: Sequence[_Slot], at: int, name: str, wanted: SubRequest, need: int, start: int) -> bool:
        """`need` more devices for this request, from candidate `start` on, then the requests after it."""
        if need == 0:
            return self._fill(slots, at + 1)
        slot, free = slots[at], self.counted[slots[at].claim, name].free
        for index in range(start, len(free) - need + 1):
            self.steps += 1
            if self.steps > LONGEST_SEARCH:
                raise _Impossible(
                    f"no combination of devices was found in {LONGEST_SEARCH} steps: make the requests or constraints simpler"
                )
            given = Given(slot.claim, name, free[index].key, wanted)
            if not self._fits(given, slot):
                continue
            self.given.append(given)
            if self._choose(slots, at, name, wanted, need - 1, index + 1):
                return True
            self.given.pop()
        return False

    def _fits(self, given: Given, slot: _Slot) -> bool:
        if not given.wanted.admin_access and any(other.key == given.key and not other.wanted.admin_access for other in self.given):
            return False
        for constraint in slot.constraints:
            if not _concerns(constraint, given.request):
                continue
            others = [o for o in self.given if o.claim == given.claim and _concerns(constraint, o.request)]
            values = [self._value(constraint, other.key) for other in others]
            mine = self._value(constraint, given.key)
            if mine is None or (constraint.match_attribute is not None and any(value != mine for value in values)):
                return False
            if constraint.distinct_attribute is not None and mine in values:
                return False
        return True

    def _value(self, constraint: DeviceConstraint, key: DeviceKey) -> object:
        wanted = constraint.match_attribute or constraint.distinct_attribute or ""
        domain, _, short = wanted.partition("/")
        attributes = self.by_key[key].device.attributes
        found = attributes.get(wanted) or (attributes.get(short) if domain == key.driver else None)
        return None if found is None else attribute_value(found)

    def _together(self, slots: Sequence[_Slot]) -> str:
        ties = sorted({c.match_attribute or c.distinct_attribute or "" for slot in slots for c in slot.constraints})
        names = ", ".join(f'"{slot.name}" of claim "{slot.claim}"' for slot in slots)
        tied = f" under the constraint{'s' if len(ties) > 1 else ''} on {', '.join(ties)}" if ties else ""
        one = self.counted[slots[0].claim, slots[0].alternatives[0][0]] if slots else Counted()
        return f"each request can be met alone, but not all together{tied}: {names} ({one})"


def _slots(name: str, claim: ResourceClaim) -> Iterator[_Slot]:
    for request in claim.spec.devices.requests:
        alternatives = tuple((f"{request.name}/{sub.name}", sub) for sub in request.first_available)
        if request.exactly is not None:
            alternatives = ((request.name, request.exactly),)
        if not alternatives:
            raise _Impossible(f'request "{request.name}" of claim "{name}" says neither "exactly" nor "firstAvailable"')
        for _, wanted in alternatives:
            if wanted.capacity is not None:
                raise _Impossible(f'request "{request.name}" of claim "{name}" asks for capacity, and the lab gives whole devices only')
        yield _Slot(name, request.name, alternatives, claim.spec.devices.constraints)


def _shortfall(wanted: SubRequest, counted: Counted) -> str | None:
    """What is missing for this request alone, None if it could be met."""
    had = len(counted.free)
    if wanted.allocation_mode == "All":
        every = had + counted.taken + counted.tainted
        return None if 0 < had == every else f'all devices of class "{wanted.device_class_name}", and {had} of {every} can be had'
    need = max(wanted.count, 1)
    devices = f"{need} device{'s' if need != 1 else ''}"
    return None if had >= need else f'{devices} of class "{wanted.device_class_name}", and {had or "none"} can be had'


def _on_node(piece: ResourceSlice, device: SliceDevice, node: str) -> bool:
    """Node selectors of slices are not evaluated: no driver of a one-node lab needs them, and a wrong yes would be worse than a no."""
    where = device if piece.spec.per_device_node_selection else piece.spec
    return where.node_name == node or bool(where.all_nodes)


def _tolerated(device: SliceDevice, tolerations: Sequence[DeviceToleration]) -> bool:
    return all(
        taint.effect not in ("NoSchedule", "NoExecute")
        or any(
            toleration.effect in ("", taint.effect)
            and (toleration.key in ("", taint.key))
            and (toleration.operator == "Exists" or toleration.value == taint.value)
            for toleration in tolerations
        )
        for taint in device.taints
    )


def _concerns(constraint: DeviceConstraint, request: str) -> bool:
    return not constraint.requests or request in constraint.requests or request.partition("/")[0] in constraint.requests


def _natural(key: DeviceKey) -> tuple[str, str, list[tuple[int, str]]]:
    """gpu-2 before gpu-10."""
    return key.driver, key.pool, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key.device) if part]


def _short(expression: str) -> str:
    return expression if len(expression) <= 80 else f"{expression[:77]}..."
