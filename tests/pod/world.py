"""A desk between devices and a model of the API server, for stories that need no socket and no clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podvitals.claim.holdings import Holding
from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.pod.book import POST_MORTEM_WINDOW, Memo
from podvitals.pod.desk import Desk, Patch
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, PodDevices, decode
from podvitals.pod.outbox import Outcome
from tests.pod.make import START, holding, state


@dataclass
class World:
    """`pods`: what the API server has. `refuses` gives what becomes of a patch; by default it arrives at once."""

    now: float = 100.0
    leave: frozenset[str] = frozenset()
    window: float = POST_MORTEM_WINDOW
    memos: Iterable[Memo] = ()
    states: dict[DeviceKey, DeviceState] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    refuses: Callable[[Patch], Outcome] = lambda _patch: Outcome.SENT
    patches: list[Patch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart(self.memos)

    back: float = 0.0

    @property
    def wall(self) -> float:
        """`back`: seconds by which the wall clock was set back."""
        return START + self.now - 100.0 - self.back

    def restart(self, memos: Iterable[Memo] = (), *, synced: bool = True) -> None:
        """Another process, which remembers `memos`, sees the pods there are."""
        self.desk = Desk("node-1", "0.1.0", self.state_of, lambda: 1.0, leave=self.leave, window=self.window)
        self.desk.restore(memos)
        for pod in list(self.pods.values()):
            self.see(pod)
        if synced:
            self.desk.synced(self.now, self.wall)

    def state_of(self, key: DeviceKey) -> DeviceState:
        return self.states.get(key) or DeviceState(key, Health.UNKNOWN, "no driver is registered", "", 0.0, 0.0, None, ())

    def see(self, pod: Pod) -> str:
        """The pod comes into being, or a watch shows it."""
        self.pods[pod.metadata.uid] = pod
        return self.desk.see(pod, self.now, self.wall)

    def hold(self, uid: str, *held: str | Holding) -> None:
        holdings = tuple(holding(one) if isinstance(one, str) else one for one in held)
        self.desk.hold(uid, holdings, self.now, self.wall)
        self.go()

    def a_pod(self, pod: Pod, *devices: str | Holding) -> str:
        """A living pod that is told at once what it is."""
        self.see(pod)
        self.hold(pod.metadata.uid, *devices)
        return pod.metadata.uid

    def set(self, *states: DeviceState) -> None:
        self.states.update((one.key, one) for one in states)
        self.desk.change([one.key for one in states], self.now, self.wall)
        self.go()

    def heal(self, device: str) -> None:
        self.set(state(device, since=self.wall))

    def go(self) -> None:
        while (patch := self.desk.take(self.now, self.wall)) is not None:
            self.patches.append(patch)
            outcome = self.refuses(patch)
            pod = self.apply(patch) if outcome is Outcome.SENT else None
            self.desk.done(patch.uid, outcome, self.now, pod=pod)

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (deadline := self.desk.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.go()
        self.now = until
        self.go()

    def apply(self, patch: Patch) -> Pod:
        """As an API server merges it."""
        body: Any = patch.body
        pod = self.pods[patch.uid]
        assert body["metadata"]["uid"] == pod.metadata.uid
        annotations = dict(pod.metadata.annotations)
        for name, text in body["metadata"].get("annotations", {}).items():
            annotations.pop(name, None)
            annotations |= {} if text is None else {name: text}
        conditions = [one for one in pod.status.conditions if one.type != CONDITION]
        told = body.get("status", {}).get("conditions", [])
        kept = [one for one in pod.status.conditions if one.type == CONDITION and not told]
        new = [msgspec.convert(one, Condition) for one in told if "$patch" not in one]
        version = str(int(pod.metadata.resource_version) + 1)
        metadata = msgspec.structs.replace(pod.metadata, annotations=annotations, resource_version=version)
        status = msgspec.structs.replace(pod.status, conditions=(*conditions, *kept, *new))
        pod = self.pods[patch.uid] = msgspec.structs.replace(pod, metadata=metadata, status=status)
        return pod

    def said(self, uid: str) -> PodDevices | None:
        text = self.pods[uid].metadata.annotations.get(ANNOTATION)
        return None if text is None else decode(text)

    def entry(self, uid: str) -> DeviceEntry:
        said = self.said(uid)
        assert said is not None
        (entry,) = said.entries
        return entry

    def status(self, uid: str) -> str:
        condition = self.pods[uid].condition(CONDITION)
        return "" if condition is None else condition.status

    def memory(self) -> list[Memo]:
        return [memo for memo in self.desk.drain().values() if memo is not None]
