"""What the lab's kubelet does next for a pod, held against invariants that any order of events must keep."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.machine import PodMachine
from podvitals.lab.kubelet.plan import (
    Added,
    ContainerPlan,
    Deleted,
    Effect,
    Ended,
    Event,
    Exited,
    Kill,
    Kind,
    PodPlan,
    Prepare,
    Prepared,
    PrepareFailed,
    Remove,
    Restart,
    Running,
    Say,
    Start,
    Started,
    StartFailed,
    Stop,
    Unprepare,
    Unprepared,
    UnprepareFailed,
    Waiting,
)


def plan(*containers: ContainerPlan, restart: Restart = Restart.ALWAYS, claims: bool = False, grace: float = 30.0) -> PodPlan:
    return PodPlan("p_default(u)", containers or (ContainerPlan("main"),), restart, claims, grace)


@dataclass
class World:
    """A machine and what the host would know of it: which processes exist, whether the claims are prepared. Checks the invariants."""

    plan: PodPlan
    now: float = 100.0
    machine: PodMachine = field(init=False)
    starting: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    prepared: bool = False
    unprepared: bool = False
    removed: bool = False
    starts: list[str] = field(default_factory=list)
    succeeded: set[str] = field(default_factory=set)
    deleted: bool = False
    said: list[Say] = field(default_factory=list)
    log: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = PodMachine(self.plan, BackoffSettings())
        self.apply(self.machine.start(self.now))

    def __call__(self, event: Event, after: float = 0.0) -> list[Effect]:
        self.now += after
        match event:
            case Started(name, _, _):
                self.starting.remove(name)
                self.alive.add(name)
            case StartFailed(name, _, _):
                self.starting.remove(name)
            case Exited(name, _, code):
                self.alive.remove(name)
                if code == 0:
                    self.succeeded.add(name)
            case Prepared():
                self.pending.discard("prepare")
                self.prepared = True
            case PrepareFailed():
                self.pending.discard("prepare")
            case Unprepared():
                self.pending.discard("unprepare")
                self.unprepared, self.prepared = True, False
            case UnprepareFailed():
                self.pending.discard("unprepare")
            case Deleted():
                self.deleted = True
        return self.apply(self.machine.handle(event, self.now))

    def wait(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.apply(self.machine.tick(self.now))

    def apply(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            self.check(effect)
        self.log += effects
        assert not self.removed or not (self.alive or self.starting)
        deadline = self.machine.next_deadline()
        if deadline is not None and deadline <= self.now:
            assert self.machine.tick(self.now) == [], "a deadline in the past must have been acted upon"
            raise AssertionError("a deadline that has passed and brings nothing would spin")
        return effects

    def check(self, effect: Effect) -> None:
        kinds = {name: run.plan.kind for name, run in self.machine.runs.items()}
        match effect:
            case Start(name, attempt):
                assert name not in self.starting | self.alive, "one process a container"
                assert not self.deleted, "nothing starts in a deleted pod"
                assert self.prepared or not self.plan.claims, "nothing starts before its devices are prepared"
                assert attempt == self.starts.count(name)
                if kinds[name] is Kind.MAIN:
                    assert {n for n, kind in kinds.items() if kind is Kind.INIT} <= self.succeeded
                    assert {n for n, kind in kinds.items() if kind is Kind.SIDECAR} <= set(self.starts)
                if self.plan.restart is Restart.NEVER and kinds[name] is not Kind.SIDECAR:
                    assert name not in self.starts
                if kinds[name] is Kind.EPHEMERAL:
                    assert name not in self.starts
                if kinds[name] is Kind.INIT or (kinds[name] is Kind.MAIN and self.plan.restart is Restart.ON_FAILURE):
                    assert name not in self.succeeded
                self.starts.append(name)
                self.starting.add(name)
            case Stop(name) | Kill(name):
                assert name in self.alive
                if kinds[name] is Kind.SIDECAR:
                    assert not any(kinds[other] is not Kind.SIDECAR for other in self.alive | self.starting), (
                        "sidecars outlive the main containers"
                    )
            case Prepare():
                assert not self.pending
                assert not self.deleted
                self.pending.add("prepare")
            case Unprepare():
                assert not self.pending
                assert not self.alive | self.starting, "no process may use a device that is being unprepared"
                self.pending.add("unprepare")
            case Remove():
                assert self.deleted
                assert not self.removed
                assert not self.alive | self.starting
                assert not self.prepared, "a pod goes only after its claims were unprepared"
                self.removed = True
            case Say():
                self.said.append(effect)

    def state(self, name: str = "main") -> object:
        return self.machine.runs[name].state

    def run(self, name: str = "main") -> None:
        self(Started(name, self.now, f"lab://{name}"))


def test_a_pod_prepares_its_claims_then_runs() -> None:
    world = World(plan(claims=True))
    assert world.log == [Prepare()]
    assert world(Prepared()) == [Start("main", 0)]
    world.run()
    assert isinstance(world.state(), Running)


def test_a_failed_prepare_is_said_and_retried_with_back_off() -> None:
    world = World(plan(claims=True))
    (said,) = world(PrepareFailed("no driver"))
    assert said == Say("FailedPrepareDynamicResources", "Failed to prepare dynamic resources: no driver", warning=True)
    assert world.state() == Waiting("ContainerCreating")
    assert world.wait(0.5) == [Prepare()]
    world(PrepareFailed("no driver"))
    assert world.wait(0.5) == []
    assert world.wait(0.5) == [Prepare()]


def test_a_crash_loop_waits_longer_each_time_and_keeps_the_last_end() -> None:
    world = World(plan())
    world.run()
    assert world(Exited("main", 5.0, 139)) == [Start("main", 1)], "the first restart comes at once"
    world.run()
    world(Exited("main", 6.0, 1))
    assert world.state() == Waiting("CrashLoopBackOff", "back-off 1s restarting failed container=main pod=p_default(u)")
    run = world.machine.runs["main"]
    assert run.restarts == 1
    assert run.last is not None
    assert run.last.exit_code == 1
    assert world.machine.next_deadline() == world.now + 1
    assert world.wait(1) == [Start("main", 2)]
    world.run()
    assert run.restarts == 2
    world(Exited("main", 7.0, 1))
    assert world.machine.next_deadline() == world.now + 2


def test_a_program_that_cannot_be_executed_ends_with_128_and_says_why() -> None:
    world = World(plan(restart=Restart.NEVER))
    world(StartFailed("main", 3.0, 'exec: "nope": not found'))
    assert world.state() == Ended(128, "StartError", 'exec: "nope": not found', None, 3.0, "")
    assert world.said[0].reason == "Failed"
    assert world.machine.over


def test_a_program_that_never_can_be_executed_is_counted_each_time() -> None:
    world = World(plan())
    world(StartFailed("main", 3.0, "no"))
    world(StartFailed("main", 3.0, "no"))
    run = world.machine.runs["main"]
    assert run.restarts == 1
    assert world.state() == Waiting("CrashLoopBackOff", "back-off 1s restarting failed container=main pod=p_default(u)")


def test_a_container_without_a_command_waits_and_says_so_once() -> None:
    world = World(plan(ContainerPlan("main", problem="no command specified")))
    assert world.state() == Waiting("CreateContainerError", "no command specified")
    assert [say.message for say in world.said] == ["Error: no command specified"]
    assert world.wait(60) == []
    assert Remove() in world(Deleted(30))


def test_init_containers_run_one_after_the_other_and_a_sidecar_only_has_to_start() -> None:
    world = World(
        plan(ContainerPlan("a", Kind.INIT), ContainerPlan("side", Kind.SIDECAR), ContainerPlan("b", Kind.INIT), ContainerPlan("main"))
    )
    assert world.state() == Waiting("PodInitializing")
    assert world.log == [Start("a", 0)]
    world.run("a")
    assert world(Exited("a", 1.0, 0)) == [Start("side", 0)]
    world.run("side")
    assert world.log[-1] == Start("b", 0)
    world.run("b")
    assert not world.machine.initialized()
    assert world(Exited("b", 1.0, 0)) == [Start("main", 0)]
    assert world.machine.initialized()


def test_a_failing_init_container_under_never_ends_the_pod() -> None:
    world = World(plan(ContainerPlan("a", Kind.INIT), ContainerPlan("main"), restart=Restart.NEVER, claims=True))
    world(Prepared())
    world.run("a")
    assert world(Exited("a", 1.0, 3)) == [Unprepare()]
    world(Unprepared())
    assert world.machine.over
    assert world.machine.failed_init()
    assert world.state() == Waiting("PodInitializing")


def test_when_the_main_containers_are_done_sidecars_stop_in_reverse_and_then_the_claims_are_unprepared() -> None:
    world = World(
        plan(
            ContainerPlan("s1", Kind.SIDECAR), ContainerPlan("s2", Kind.SIDECAR), ContainerPlan("main"), restart=Restart.NEVER, claims=True
        )
    )
    world(Prepared())
    for name in ("s1", "s2", "main"):
        world.run(name)
    assert Stop("s2") in world(Exited("main", 1.0, 0))
    assert Stop("s1") in world(Exited("s2", 1.0, 143))
    assert world(Exited("s1", 1.0, 143)) == [Unprepare()]
    world(Unprepared())
    assert world.machine.over
    assert not world.removed, "nobody deleted it"
    assert world(Deleted(30)) == [Remove()]


def test_an_ephemeral_container_starts_once_whatever_else_runs() -> None:
    world = World(plan(ContainerPlan("init", Kind.INIT), ContainerPlan("main")))
    assert world(Added(ContainerPlan("debug", Kind.EPHEMERAL))) == [Start("debug", 0)]
    world.run("debug")
    assert world(Exited("debug", 1.0, 1)) == []
    assert world.wait(60) == []
    assert isinstance(world.state("debug"), Ended)


def test_a_pod_ends_without_waiting_for_an_ephemeral_container_and_not_before_it_is_gone() -> None:
    world = World(plan(claims=True, restart=Restart.NEVER))
    world(Prepared())
    world.run()
    world(Added(ContainerPlan("debug", Kind.EPHEMERAL)))
    world.run("debug")
    assert Stop("debug") in world(Exited("main", 1.0, 0))
    assert not world.machine.over
    assert world(Exited("debug", 2.0, 143)) == [Unprepare()]


def test_a_process_that_ignores_sigterm_is_killed_when_the_grace_period_is_over() -> None:
    world = World(plan(grace=5))
    world.run()
    assert Stop("main") in world(Deleted(5))
    assert world.wait(4.9) == []
    assert world.wait(0.2) == [Kill("main")]
    assert world(Exited("main", 1.0, 137)) == [Remove()]


def test_a_second_delete_may_shorten_the_grace_period() -> None:
    world = World(plan())
    world.run()
    world(Deleted(30))
    assert world(Deleted(0)) == [Kill("main")]


def test_a_second_delete_never_prolongs_the_grace_period() -> None:
    world = World(plan(ContainerPlan("side", Kind.SIDECAR), ContainerPlan("main")))
    world.run("side")
    world.run()
    world(Deleted(5))
    world(Deleted(60))
    assert Stop("side") in world(Exited("main", 1.0, 0))
    assert world.wait(5.1) == [Kill("side")]


def test_a_pod_deleted_while_it_prepares_is_unprepared_before_it_goes() -> None:
    world = World(plan(claims=True))
    assert world(Deleted(30)) == []
    assert world(PrepareFailed("late"))[-1] == Unprepare()
    assert world(UnprepareFailed("driver away"))[-1].__class__ is Say
    assert world.wait(0.5) == [Unprepare()]
    assert world(Unprepared()) == [Remove()]


NAMES = ["i1", "i2", "s1", "m1", "m2"]
PLANS = st.builds(
    lambda inits, mains, restart, claims: plan(
        *(ContainerPlan(f"i{n}", kind) for n, kind in enumerate(inits)),
        *(ContainerPlan(f"m{n}", problem=problem) for n, problem in enumerate(mains)),
        restart=restart,
        claims=claims,
        grace=3.0,
    ),
    st.lists(st.sampled_from([Kind.INIT, Kind.SIDECAR]), max_size=3),
    st.lists(st.sampled_from(["", "", "", "no command"]), min_size=1, max_size=2),
    st.sampled_from(Restart),
    st.booleans(),
)


@given(PLANS, st.data())
def test_whatever_happens_in_whatever_order_the_invariants_hold_and_a_deleted_pod_goes(pod: PodPlan, data: st.DataObject) -> None:
    world = World(pod)
    for _ in range(data.draw(st.integers(0, 25))):
        happen(world, data)
    if not world.deleted:
        world(Deleted(2.0))
    for _ in range(100):
        if world.removed:
            break
        settle(world)
    assert world.removed, "a deleted pod goes once its processes end and its drivers answer"
    assert world.machine.next_deadline() is None


def happen(world: World, data: st.DataObject) -> None:
    choices: list[Event | float] = [0.3, 1.0, 20.0]
    choices += [Added(ContainerPlan(name, Kind.EPHEMERAL)) for name in ("e0", "e1") if name not in world.machine.runs]
    choices += [Started(name, world.now, f"lab://{name}") for name in sorted(world.starting)]
    choices += [StartFailed(name, world.now, "no such program") for name in sorted(world.starting)]
    for name in sorted(world.alive):
        choices.append(Exited(name, world.now, 0))
        choices.append(Exited(name, world.now, 1))
    if "prepare" in world.pending:
        choices += [Prepared(), PrepareFailed("x")]
    if "unprepare" in world.pending:
        choices += [Unprepared(), UnprepareFailed("x")]
        "".join(world.pending), []
        choices = [Deleted(2.0)]
    chosen = data.draw(st.sampled_from(choices))
    if isinstance(chosen, float):
        world.wait(chosen)
    else:
        world(chosen, after=data.draw(st.sampled_from([0.0, 0.2])))


def settle(world: World) -> None:
    """One thing that the host does for a pod that shall go."""
    if world.starting:
        world(Started(min(world.starting), world.now, "lab://x"))
    elif killed := sorted(name for name in world.alive if world.machine.runs[name].killed):
        world(Exited(killed[0], world.now, 137))
    elif world.pending:
        world(Prepared() if "prepare" in world.pending else Unprepared())
    else:
        world.wait(1.0)
