"""The agent: drivers of this node in, conditions, annotations, events and a Lease out (ARCHITECTURE, "The way the data goes").

All decisions are made elsewhere; here is who tells whom. A device's change goes in one turn of the event loop from the node's ledger to the
desk (which pods hold it, what is to be said), and its patch is under way in the next. Logging and metrics come after.
"""

import asyncio
import logging
import math
import random
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from podvitals import __version__
from podvitals.agent.account import Account, pod_name
from podvitals.agent.claims import ClaimReader
from podvitals.agent.lease import Renewer
from podvitals.agent.listen import Answers, Listener
from podvitals.agent.memory import Memory
from podvitals.agent.metrics import Gauge, Metrics
from podvitals.agent.state import Agent as AgentPart
from podvitals.agent.state import state
from podvitals.claim.holdings import Holding
from podvitals.claim.pod import Pod
from podvitals.clock import SYSTEM, Clock
from podvitals.device.key import DeviceKey
from podvitals.errors import LocalError, PodvitalsError
from podvitals.fleet.inventory import lease_name
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import PODS
from podvitals.node.limits import Limits
from podvitals.node.watch import NodeSettings, NodeWatch
from podvitals.pod.book import POST_MORTEM_WINDOW, Memo
from podvitals.pod.desk import Desk, Vouch, bare
from podvitals.pod.events import Announcer
from podvitals.pod.publish import Publisher

log = logging.getLogger(__name__)

NODE_PATIENCE = 2.0
"""Seconds the drivers found at the start have to answer before pods are told what is known without them."""
CLAIMS_PATIENCE = 1.0
"""Seconds after the first words to pods until the claims of those that are remembered are read again: 110 reads would be in their way."""
SAVE_PACE, SAVE_AGAIN_AFTER = 0.2, 5.0
SHUTDOWN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`leave`: drivers that are not watched; for their devices the kubelet's field is taken. `namespace`: where the Lease lives.

    `listen`: host and port to be asked at, beside the socket in `state_dir`; None: the socket alone."""

    node: str
    plugin_dir: Path = Path("/var/lib/kubelet/plugins_registry")
    state_dir: Path = Path("/var/lib/podvitals")
    leave: frozenset[str] = frozenset()
    namespace: str = "kube-system"
    listen: tuple[str, int] | None = None
    window: float = POST_MORTEM_WINDOW
    limits: Limits = field(default_factory=Limits)

    @property
    def socket(self) -> Path:
        return self.state_dir / "agent.sock"


class Agent:
    def __init__(self, settings: AgentSettings, client: Client, clock: Clock = SYSTEM) -> None:
        self._settings, self._client, self._clock = settings, client, clock
        self._started = clock.wall()
        checkpoint = settings.state_dir / "node.sqlite"
        node = NodeSettings(plugin_dir=settings.plugin_dir, checkpoint=checkpoint, leave=settings.leave, limits=settings.limits)
        self.node = NodeWatch(node, clock)
        self.metrics = Metrics(lambda: self.node.states().values(), self.node.drivers, self._gauges)
        self.desk = Desk(settings.node, __version__, self.node.state, random.random, leave=settings.leave, window=settings.window)
        self.announcer = Announcer(client, settings.node, self.desk.notices, clock)
        self.publisher = Publisher(client, self.desk, clock, on_posted=self._posted, on_result=self.metrics.patched)
        self.claims = ClaimReader(client, clock, self._held)
        self.lease = Renewer(client, settings.node, settings.namespace, clock, self.vouch, self._named)
        self.memory = Memory(settings.state_dir / "agent.sqlite")
        self.listener = Listener(Answers(self._answer, self.metrics.text, self.waiting), settings.socket, settings.listen)
        self.synced = asyncio.Event()
        """Every pod of the node has been seen."""
        self._recheck: dict[str, Pod] = {}
        """Pods that an earlier process knew, whose claims are not read yet."""
        self._holds_back = False
        self._remember = asyncio.Event()
        self._unsaved: dict[str, Memo | None] = {}
        self._api_error = ""
        self.account = Account(self.metrics, clock, self.node.state, self.desk.book.holders)

    async def run(self) -> None:
        """Until cancelled. LocalError where this machine gives it no place to work."""
        await asyncio.to_thread(_prepare, self._settings.state_dir)
        self.desk.restore(await asyncio.to_thread(self.memory.load))
        await self.listener.start()
        try:
            self.node.subscribe(self._changed)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.node.run(), name="node")
                tasks.create_task(self._follow_pods(tasks), name="pods of this node")
                self._holds_back = True
                tasks.create_task(self._check_remembered(tasks), name="claims of remembered pods")
                tasks.create_task(self._publish(), name="publisher")
                tasks.create_task(self.announcer.run(), name="events")
                tasks.create_task(self.lease.run(), name="lease")
                tasks.create_task(self._keep_memory(), name="memory of pods")
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await asyncio.shield(self._end())

    def waiting(self) -> tuple[str, ...]:
        """What the agent waits for before it is ready; nothing when it is."""
        waits = []
        if not self.node.ready.is_set():
            waits.append(f"the drivers in {self._settings.plugin_dir}")
        if not self.synced.is_set():
            waits.append("the pods of this node" + (f": {self._api_error}" if self._api_error else ""))
        return tuple(waits)

    # --- who tells whom ----------------------------------------------------------------------------------------------------------

    def _changed(self, keys: frozenset[DeviceKey]) -> None:
        """Devices changed: the hot path. Nothing here waits or logs."""
        self.desk.change(keys, self._clock.now(), self._clock.wall())
        self.publisher.go()
        asyncio.get_running_loop().call_soon(self.account.changed, keys)
        self._note()

    def _note(self) -> None:
        if self.desk.unsaved:
            self._remember.set()

    def _posted(self) -> None:
        if self.desk.announces():
            self.announcer.wake()
        self.lease.look()

    def _named(self, uid: str) -> str:
        record = self.desk.book.get(uid)
        return uid if record is None else pod_name(record.pod)

    def vouch(self, standing: bool) -> Vouch:
        now = self._clock.now()
        if not standing and any(state.deadline is not None and state.deadline <= now for state in self.node.states().values()):
            return Vouch({}, "leases have ended of which no pod was told yet")
        return self.desk.vouch(now, standing=standing)

    def _see(self, pod: Pod, tasks: asyncio.TaskGroup) -> None:
        before = self.desk.book.get(pod.metadata.uid)
        lived = before is not None and before.final is None
        if trouble := self.desk.see(pod, self._clock.now(), self._clock.wall()):
            log.warning("annotation written anew", extra={"pod": pod_name(pod), "reason": trouble})
        if lived and before is not None and before.final is not None:
            self.account.ended(before)
        self.publisher.go()
        self._note()
        if pod.ended:
            self._recheck.pop(pod.metadata.uid, None)
            self.claims.forget(pod.metadata.uid)
        elif before is None and self._holds_back and self._remembers(pod):
            self._recheck[pod.metadata.uid] = pod
        elif pod.metadata.uid not in self._recheck:
            self.claims.want(pod, tasks)

    def _remembers(self, pod: Pod) -> bool:
        record = self.desk.book.get(pod.metadata.uid)
        return record is not None and bool(record.holdings)

    def _gone(self, pod: Pod) -> None:
        self._recheck.pop(pod.metadata.uid, None)
        self.claims.forget(pod.metadata.uid)
        self.desk.gone(pod.metadata.uid, self._clock.now(), self._clock.wall())
        self._note()

    def _held(self, uid: str, holdings: tuple[Holding, ...]) -> None:
        record = self.desk.book.get(uid)
        if record is not None and self.desk.hold(uid, holdings, self._clock.now(), self._clock.wall()):
            self.publisher.go()
            self._note()
            self.account.holds(record)

    # --- tasks -------------------------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        """Pods are told nothing before the drivers had a moment to speak: a restarted agent must not make its pods flap."""
        with suppress(TimeoutError):
            async with asyncio.timeout(NODE_PATIENCE):
                await self.node.ready.wait()
        await self.publisher.run()

    async def _check_remembered(self, tasks: asyncio.TaskGroup) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(NODE_PATIENCE):
                await self.node.ready.wait()
        await self._clock.sleep_until(self._clock.now() + CLAIMS_PATIENCE)
        self._holds_back = False
        for pod in self._recheck.values():
            self.claims.want(pod, tasks)
        self._recheck.clear()

    async def _follow_pods(self, tasks: asyncio.TaskGroup) -> None:
        here = f"spec.nodeName={self._settings.node}"
        async with aclosing(follow(self._client, PODS, fields=here, clock=self._clock, on_error=self._unheard, kept=bare)) as changes:
            async for change in changes:
                # A pod that ended meanwhile is judged once, when it is seen: not before what is remembered of its devices can be asked for.
                await self.node.loaded.wait()
                if change.object is None:
                    self._api_error = ""
                    self.desk.synced(self._clock.now(), self._clock.wall())
                    self.lease.look()
                    self._note()
                    if not self.synced.is_set():
                        self.synced.set()
                        log.info("pods of this node seen", extra={"node": self._settings.node, "pods": len(self.desk.book)})
                elif change.kind == "deleted":
                    self._gone(change.object)
                else:
                    self._see(change.object, tasks)

    def _unheard(self, error: PodvitalsError, pause: float) -> None:
        self._api_error = str(error)
        self.metrics.api_error("pods")
        log.warning("pods not read", extra={"node": self._settings.node, "reason": str(error)})

    async def _keep_memory(self) -> None:
        while True:
            await self._remember.wait()
            self._remember.clear()
            await self._save()
            pause = SAVE_PACE
            if self._unsaved:
                # Also where no pod changes any more: what is not on disk is lost with this process.
                self._remember.set()
                pause = SAVE_AGAIN_AFTER
            await self._clock.sleep_until(self._clock.now() + pause)

    async def _save(self) -> None:
        """Where this is cancelled, what was not written yet is kept for the last call."""
        self._unsaved.update(self.desk.drain())
        if not self._unsaved:
            return
        if await asyncio.to_thread(self.memory.save, dict(self._unsaved)):
            self._unsaved = {}
        elif self.memory.anew:
            self.memory.anew = False
            self._unsaved = dict(self.desk.everything())

    async def _end(self) -> None:
        await self.listener.stop()
        await self._save()
        await asyncio.to_thread(self.memory.close)

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def _answer(self) -> bytes:
        part = AgentPart(
            self._settings.node,
            __version__,
            self._started,
            self.waiting(),
            lease_name(self._settings.node),
            self.lease.renewed,
            self.desk.outbox.dirty,
        )
        return state(part, self.desk.book, self.node.states(), self.node.drivers(), self._clock.now())

    def _lease_age(self) -> float:
        renewed = self.lease.renewed
        return math.inf if renewed is None else self._clock.now() - renewed

    def _gauges(self) -> tuple[Gauge, ...]:
        return (
            Gauge("podvitals_pods", "Pods of this node", len(self.desk.book)),
            Gauge("podvitals_pods_dirty", "Pods whose status waits to be written", self.desk.outbox.dirty),
            Gauge("podvitals_pods_untold", "Pods that the Lease names because they could not be told the truth", self.lease.untold),
            Gauge("podvitals_lease_age_seconds", "Seconds since the Lease was renewed; readers say Unknown after 40", self._lease_age()),
            Gauge("podvitals_checkpoint_seconds", "Seconds the last save of the checkpoint took", self.node.keeper.seconds),
            Gauge("podvitals_checkpoint_failing", "Whether the checkpoint cannot be written", bool(self.node.keeper.trouble)),
            Gauge("podvitals_ready", "Whether node and API have been heard", not self.waiting()),
        )


def _prepare(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = error.strerror or str(error)
        raise LocalError(f"cannot make state directory {state_dir}: {why}: run as root, or choose another with --state-dir") from None
