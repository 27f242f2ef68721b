"""What each step of a story does to the world."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from podvitals.claim.meta import Condition
from podvitals.device.health import Health
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, PodDevices
from tests.chaos.cast import KEYS
from tests.chaos.oracle import UNDO
from tests.chaos.world import AFTER_AGENT, World, after_api

if TYPE_CHECKING:
    from podvitals.claim.pod import Pod


def verdict(world: World, source: int, device: int, health: str, lease: float | None, who: str) -> None:
    words = {"Healthy": "", "Unhealthy": f"fault {_count(world)}", "Unknown": f"cannot tell {_count(world)}"}
    world.say_of_hardware(source, device, Health(health), words[health], lease, who)


def _count(world: World) -> int:
    world.faults += 1
    return world.faults


def flap(world: World, source: int, device: int, period: float, times: int) -> None:
    for n in range(times):
        health = "Unhealthy" if n % 2 == 0 else "Healthy"
        world.loop.after(n * period, verdict, world, source, device, health, None, "all")


def roll_driver(world: World, source: int, overlap: float, lease: float) -> None:
    """A rolling update: a process in the next slot comes, the old one goes `overlap` later."""
    old = [slot for slot in range(2) if (one := world.process(source, slot)) is not None and one.alive]
    new = 1 if old == [0] else 0
    world.start_driver(source, new, "heartbeat", lease, False)
    for slot in old:
        if slot != new:
            world.loop.after(overlap, kill_driver, world, source, slot, True, "read")


def kill_driver(world: World, source: int, slot: int, tidy: bool, under_way: str) -> None:
    process = world.process(source, slot)
    if process is not None and process.alive:
        world.stop_driver(process, tidy=tidy, under_way=under_way)


def hang_driver(world: World, source: int, slot: int, seconds: float) -> None:
    process = world.process(source, slot)
    if process is not None and process.alive and not process.hung:
        process.hang()
        world.loop.after(seconds, process.wake)


def end_stream(world: World, source: int, slot: int) -> None:
    process = world.process(source, slot)
    if process is not None and process.alive:
        process.end_stream()


def break_connection(world: World, source: int, slot: int, under_way: str) -> None:
    process = world.process(source, slot)
    if process is not None and process.alive:
        process.break_connection(under_way)


def blurt(world: World, source: int, slot: int, kind: str) -> None:
    process = world.process(source, slot)
    if process is not None and process.alive:
        world.blurt(process, kind, f"fault {_count(world)}")


def recreate_pod(world: World, slot: int, devices: tuple[int, ...], flavour: str) -> None:
    world.cluster.delete(slot, 0.0)
    world.loop.after(0.0, world.cluster.create, slot, devices, flavour, 0.0)


def hand_on(world: World, slot: int, to: int, how: str) -> None:
    """A pod ends, and its devices are given to another at once."""
    pod = world.api.pods.get(f"pod-{slot}")
    if pod is not None and not pod.ended:
        devices = tuple(KEYS.index(key) for key in world.oracle.holders[pod.metadata.uid].keys)
        world.cluster.finish(slot, how, 0.0)
        world.loop.after(0.01, world.cluster.create, to, devices, "template", 0.0)


def api_mode(world: World, mode: str, seconds: float) -> None:
    if world.api.mode:
        return
    world.api.mode = mode
    # A letter that hangs may arrive 30 s later; an annotation that was refused is tried again after a minute.
    longer = {"hang": 35.0, "422": 65.0}.get(mode, 0.0)
    world.oracle.upset(seconds, after_api(seconds) + longer)
    if mode == "gone":
        world.api.break_watches()
    world.loop.after(seconds, _answer_again, world)


def _answer_again(world: World) -> None:
    world.api.mode = ""


def slow_watch(world: World, delay: float, seconds: float) -> None:
    world.api.watch_delay = delay
    world.oracle.upset(seconds + delay, UNDO)
    world.loop.after(seconds, _watch_again, world)


def _watch_again(world: World) -> None:
    world.api.watch_delay = 0.0


def break_watch(world: World, forget: bool) -> None:
    world.oracle.upset(0.0, 10.0)
    if forget:
        world.api.forget()
    else:
        world.api.break_watches()


def _meddle(world: World, slot: int, seconds: float = 0.0) -> "Pod | None":
    pod = world.api.pods.get(f"pod-{slot}")
    if pod is not None:
        holder = world.oracle.holders[pod.metadata.uid]
        holder.meddled = world.loop.now
        holder.upset_until = max(holder.upset_until, world.loop.now + seconds + UNDO, world.oracle.upset_until + UNDO)
        world.loop.at(holder.upset_until + UNDO, world.oracle.look, holder.name, holder.uid)
    return pod


def undo(world: World, slot: int, what: str) -> None:
    pod = _meddle(world, slot)
    if pod is not None:
        if what != "annotation":
            kept = tuple(one for one in pod.status.conditions if one.type != CONDITION)
            pod = msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, conditions=kept))
        if what != "condition":
            left = {key: text for key, text in pod.metadata.annotations.items() if key != ANNOTATION}
            pod = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, annotations=left))
            world.oracle.taken_away(pod.metadata.uid)
        world.api.put(pod)


def plant(world: World, slot: int, what: str) -> None:
    """Somebody with the right to do so writes what is ours."""
    pod = _meddle(world, slot)
    if pod is None:
        return
    world.oracle.holders[pod.metadata.uid].planted = True
    world.oracle.taken_away(pod.metadata.uid)
    health = Health(what) if what in ("Healthy", "Unhealthy") else Health.HEALTHY
    key = KEYS[len(pod.metadata.name) % len(KEYS)]
    entry = DeviceEntry(container="main", driver=key.driver, pool=key.pool, device=key.device, health=health, message="planted")
    devices = PodDevices("evil", "0", (entry,), ended=datetime(2026, 1, 1, tzinfo=UTC) if what == "ended" else None)
    text = "{" if what == "rubbish" else devices.encode()
    status = {"Healthy": "True", "Unhealthy": "False"}.get(what, "True")
    conditions = (
        *(one for one in pod.status.conditions if one.type != CONDITION),
        Condition(type=CONDITION, status=status, reason="Planted"),
    )
    meta = msgspec.structs.replace(pod.metadata, annotations={**pod.metadata.annotations, ANNOTATION: text})
    world.api.put(msgspec.structs.replace(pod, metadata=meta, status=msgspec.structs.replace(pod.status, conditions=conditions)))


def refuse_pod(world: World, slot: int, what: str, seconds: float) -> None:
    """An admission rule; the agent tries an annotation that was refused again after a minute."""
    pod = _meddle(world, slot, seconds + 75.0)
    if pod is not None:
        uid = pod.metadata.uid
        if what == "strip":
            world.api.stripped.add(uid)
        else:
            world.api.refused[uid] = what
        world.loop.after(seconds, _admit, world, uid)


def _admit(world: World, uid: str) -> None:
    world.api.stripped.discard(uid)
    world.api.refused.pop(uid, None)


def kill_agent_at_write(world: World, writes: int, down: float) -> None:
    world.set_fuse(writes, down)


def end_agent(world: World, down: float) -> None:
    agent = world.agent
    if agent is not None and agent.alive and not agent.stopped:
        agent.end()
        world.oracle.upset(down + 0.1, AFTER_AGENT)
        world.loop.after(down + 0.1, world.start_agent)


def stop_agent(world: World, seconds: float) -> None:
    agent = world.agent
    if agent is not None and agent.alive and not agent.stopped:
        agent.stop()
        world.oracle.stalled(seconds)
        world.oracle.upset(seconds, AFTER_AGENT)
        world.loop.after(seconds, _go_on, world, agent, False)


def _go_on(world: World, agent: object, slept: bool) -> None:
    if world.agent is agent and world.agent is not None and world.agent.stopped and not world.machine.asleep:
        world.agent.go_on(slept)


def lose(world: World, what: str, down: float) -> None:
    """The agent dies, and with it a file."""
    world.kill_agent(down)
    if what in ("checkpoint", "both"):
        world.disk.lose_checkpoint()
    if what in ("memory", "both"):
        world.disk.memos.clear()
    world.oracle.lost()


def full_disk(world: World, seconds: float) -> None:
    world.disk.full = True
    world.loop.after(seconds, _free_disk, world)


def _free_disk(world: World) -> None:
    world.disk.full = False
    world.oracle.lost()


def step_wall_clock(world: World, seconds: float) -> None:
    world.machine.skew += seconds
    world.oracle.stepped.append(world.loop.now)


def suspend(world: World, seconds: float) -> None:
    if world.machine.asleep or world.machine.down:
        return
    world.machine.asleep = True
    world.oracle.stalled(seconds + 1.0)
    world.oracle.upset(seconds, AFTER_AGENT)
    if world.agent is not None and world.agent.alive:
        world.agent.stop()
    world.loop.after(seconds, _wake, world)


def _wake(world: World) -> None:
    world.machine.asleep = False
    if world.agent is not None:
        _go_on(world, world.agent, True)


def reboot(world: World, seconds: float) -> None:
    """Everything on the machine dies; drivers come back by themselves when their pods do, which other steps say."""
    if world.machine.asleep or world.machine.down:
        return
    for process in world.processes.values():
        if process.alive:
            world.stop_driver(process, tidy=True, under_way="lost")
    world.kill_agent(0.0)
    world.machine.down = True
    world.oracle.upset(seconds, AFTER_AGENT)
    world.loop.after(seconds, _boot, world)


def _boot(world: World) -> None:
    world.machine.reboot()
    world.loop.after(2.0, world.start_agent)


STEPS: dict[str, Callable[..., None]] = {
    "start driver": World.start_driver,
    "verdict": verdict,
    "flap": flap,
    "roll driver": roll_driver,
    "kill driver": kill_driver,
    "hang driver": hang_driver,
    "end stream": end_stream,
    "break connection": break_connection,
    "blurt": blurt,
    "create pod": lambda world, *args: world.cluster.create(*args),
    "finish pod": lambda world, *args: world.cluster.finish(*args),
    "delete pod": lambda world, *args: world.cluster.delete(*args),
    "recreate pod": recreate_pod,
    "hand on": hand_on,
    "restart container": lambda world, *args: world.cluster.restart_container(*args),
    "API": api_mode,
    "slow watch": slow_watch,
    "break watch": break_watch,
    "undo": undo,
    "plant": plant,
    "refuse pod": refuse_pod,
    "kill agent": World.kill_agent,
    "kill agent at write": kill_agent_at_write,
    "end agent": end_agent,
    "stop agent": stop_agent,
    "lose": lose,
    "full disk": full_disk,
    "step wall clock": step_wall_clock,
    "suspend": suspend,
    "reboot": reboot,
}
