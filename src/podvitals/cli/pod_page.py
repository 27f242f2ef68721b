"""The page `podvitals describe pod` prints: what is wrong, whether it explains the crash, and what to do, in that order. No I/O here."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from podvitals.claim.pod import ContainerStatus
from podvitals.claim.times import unix
from podvitals.cli.output import Table, age, clock, paint, strong, wrapped
from podvitals.device.health import Health
from podvitals.device.text import clean
from podvitals.fleet.inventory import PodView, Source, device_name
from podvitals.pod.agreement import Agreement
from podvitals.pod.cause import Cause, Exit, Relation, Verdict, statuses
from podvitals.pod.entry import DeviceEntry, FaultEntry

_BACK_OFF = re.compile(r"back-off (?:(\d+)m)?(\d+(?:\.\d+)?)s restarting")
_SIGNALS = {129: "SIGHUP", 130: "SIGINT", 132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV"}
_SIGNALS |= {141: "SIGPIPE", 143: "SIGTERM"}
_DO = {
    "restart-app": "restart the program",
    "reset-gpu": "reset the GPU on node {node}",
    "reboot": "reboot node {node}",
    "power-cycle": "power-cycle node {node}",
    "service": "have the hardware of node {node} serviced",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: `now` in Unix seconds, the local time zone, the characters a line has, and whether all devices are asked for."""

    now: float
    zone: tzinfo | None = None
    width: int = 120
    all_devices: bool = False

    def clock(self, moment: datetime | float | None) -> str:
        """Local time of day; '' for None."""
        if moment is None:
            return ""
        return clock(moment.timestamp() if isinstance(moment, datetime) else moment, self.now, self.zone)

    def ago(self, moment: datetime | float | None) -> str:
        if moment is None:
            return ""
        return age(self.now - (moment.timestamp() if isinstance(moment, datetime) else moment))

    def since(self, moment: datetime | None) -> str:
        """`12:03:04 (6m)`."""
        return f"{self.clock(moment)} ({self.ago(moment)})" if moment is not None else ""


def pod_page(view: PodView, reader: Reader) -> list[str]:
    """The whole page, line by line."""
    sections = (
        _title(view, reader),
        _headline(view, reader),
        _containers(view, reader),
        _devices(view, reader),
        _timeline(view, reader),
        _source(view, reader),
    )
    lines: list[str] = []
    for section in sections:
        lines += ([""] if lines and section else []) + section
    return lines


def _title(view: PodView, reader: Reader) -> list[str]:
    pod = view.pod
    where = f" on {pod.spec.node_name}" if pod.spec.node_name else ", on no node yet"
    waiting = sum(1 for status in pod.status.container_statuses if status.state.waiting)
    state = pod.status.phase or "Pending"
    if pod.metadata.deletion_timestamp:
        state = "Terminating"
    if pod.status.reason:
        state += f": {clean(pod.status.reason)}"
    if waiting:
        state += f", {waiting} of {len(pod.status.container_statuses)} container{'s' * (len(pod.status.container_statuses) > 1)} waiting"
    created = unix(pod.metadata.creation_timestamp)
    text = wrapped(f"Pod {view.name}{where}        {state}        {reader.ago(created)} old", reader.width - 4, " " * 4)
    return [text.replace(view.name, strong(view.name), 1)]


def _headline(view: PodView, reader: Reader) -> list[str]:
    if view.newer is not None:
        mark = {Health.UNHEALTHY: "✗", Health.UNKNOWN: "?", Health.HEALTHY: "✓"}[view.newer.health]
        text = f"  {mark} Just now: {view.newer.message or view.newer.health}"
        return [
            paint(wrapped(text, reader.width - 4, " " * 4), view.newer.health),
            wrapped("    The agent's condition says so; what follows is up to a second older. Ask again.", reader.width - 4, " " * 4),
        ]
    blamed = [cause for cause in view.causes if cause.verdict is Verdict.EXPLAINED]
    if blamed:
        return _explained(view, blamed, reader)
    lines = list(_not_explained(view, reader))
    broken = [(entry, fault) for entry in view.entries if (fault := _standing(view, entry)) or entry.health is Health.UNHEALTHY]
    if broken:
        names = len({device_name(entry) for entry, _ in broken})
        count = "A DEVICE" if names == 1 else f"{names if view.doubted else view.count(Health.UNHEALTHY)} DEVICES"
        past = view.ended or view.doubted
        verb = ("WAS" if past else "IS") if names == 1 else ("WERE" if past else "ARE")
        title = f"{count} OF THIS POD {verb} {'LAST KNOWN ' * view.doubted}UNHEALTHY{' WHEN THE POD ENDED' * view.ended}"
        mark, worst = ("?", Health.UNKNOWN) if view.doubted else ("✗", Health.UNHEALTHY)
        title = paint(wrapped(f"  {mark} {title}", reader.width - 4, " " * 4), worst)
        return [title, *_accused(view, *broken[0], reader), *([""] if lines else []), *lines]
    return lines


def _standing(view: PodView, entry: DeviceEntry) -> FaultEntry | None:
    """The fault that lasted when an agent whose word is not taken now spoke last."""
    last = entry.faults[-1] if view.doubted and entry.faults else None
    return last if last is not None and last.health is Health.UNHEALTHY and last.until is None else None


def _explained(view: PodView, blamed: list[Cause], reader: Reader) -> list[str]:
    names = [cause.exit.container for cause in blamed]
    crashes = "CRASHES" if any(status.restart_count > 0 for status in statuses(view.pod) if status.name in names) else "END"
    quoted = ", ".join(f'"{name}"' for name in names)
    title = f"  ✗ A DEVICE FAULT EXPLAINS THE {crashes} of container{'s' * (len(names) > 1)} {quoted}"
    lines = [paint(wrapped(title, reader.width - 4, " " * 4), Health.UNHEALTHY)]
    seen: set[str] = set()
    for cause in blamed:
        if cause.entry is not None and device_name(cause.entry) not in seen:
            seen.add(device_name(cause.entry))
            lines += _accused(view, cause.entry, cause.fault, reader)
    return lines


def _accused(view: PodView, entry: DeviceEntry, fault: FaultEntry | None, reader: Reader) -> Iterator[str]:
    """The three lines about one device: which and since when, why, what to do."""
    over = fault is not None and fault.until is not None
    if over and fault is not None:
        state = f"was {fault.health} {reader.clock(fault.start)}–{reader.clock(fault.until)}"
    elif view.doubted and fault is not None:
        state = f"last known {fault.health}, since {reader.clock(fault.start)}"
    else:
        state = f"{entry.health} for {reader.ago(entry.since)} (since {reader.clock(entry.since)})" if entry.since else str(entry.health)
    about = wrapped(f"{entry.device.ljust(6)}  {state}    {device_name(entry)}", reader.width - 12, " " * 12)
    yield f"    {about.replace(entry.device, strong(entry.device), 1)}"
    message, action = (fault.message, fault.action) if fault is not None else (entry.message, entry.action)
    if message:
        yield f"    Why     {wrapped(clean(message), reader.width - 12, ' ' * 12)}"
    advice = _advice(view, entry, action, over=over)
    if advice:
        yield f"    Do      {wrapped(advice, reader.width - 12, ' ' * 12)}"


def _advice(view: PodView, entry: DeviceEntry, action: str, *, over: bool) -> str:
    node = view.pod.spec.node_name
    what = to_do(action, node)
    if over:
        return f"nothing now: the fault has ended. If it returns, {what or 'look at the device'}."
    stuck = f"A restart of this pod cannot help: its claim keeps {entry.device}." if not view.ended else ""
    return " ".join(part for part in (f"{what}." if what else "", stuck) if part)


def to_do(action: str, node: str) -> str:
    """An action in words; one that is not podvitals' own as its driver wrote it."""
    return _DO[action].format(node=node or "its node") if action in _DO else clean(action)


def _not_explained(view: PodView, reader: Reader) -> Iterator[str]:
    crashed = [cause for cause in view.causes if cause.exit.code != 0]
    for cause in crashed:
        container = f'container "{cause.exit.container}"'
        last = f"last exit {_exit_text(cause.exit)}"
        if cause.verdict is Verdict.POSSIBLE and cause.entry and cause.fault:
            span = f"{reader.clock(cause.fault.start)}–{reader.clock(cause.fault.until) or 'now'}"
            fault = f"{cause.entry.device} was {cause.fault.health} {span}: {clean(cause.fault.message)}"
            text = f"  ? A device fault may have to do with the end of {container} ({last}): {fault}"
            yield paint(wrapped(text, reader.width - 4, " " * 4), Health.UNKNOWN)
        elif cause.verdict is Verdict.CANNOT_TELL:
            about = f"{cause.entry.device}: " if cause.entry else ""
            text = f"  ? Whether a device explains the end of {container} ({last}) cannot be told: {about}{cause.why}"
            yield paint(wrapped(text, reader.width - 4, " " * 4), Health.UNKNOWN)
        elif cause.verdict is Verdict.UNRELATED and view.entries:
            healthy = f"{view.count(Health.HEALTHY)} of {view.count()} healthy now"
            yield wrapped(f"  No device fault explains the end of {container} ({last}): {cause.why}; {healthy}.", reader.width - 2, "  ")
    if not crashed and view.health is Health.HEALTHY:
        yield paint(f"  ✓ Its {view.count()} devices are healthy" if view.count() > 1 else "  ✓ Its device is healthy", Health.HEALTHY)
    unknown = [entry for entry in view.entries if entry.health is Health.UNKNOWN]
    if not crashed and view.health is Health.UNKNOWN and unknown:
        whose = f"{view.count(Health.UNKNOWN)} of {view.count()} devices" if view.count() > 1 else unknown[0].device
        text = f"  ? The health of {whose} is unknown: {clean(unknown[0].message) or 'nobody says why'}"
        yield paint(wrapped(text, reader.width - 4, " " * 4), Health.UNKNOWN)


def _exit_text(ended: Exit) -> str:
    name = _SIGNALS.get(ended.code, "")
    details = [part for part in (name, ended.reason if ended.reason not in ("", "Error", "Completed") else "") if part]
    return f"{ended.code} ({', '.join(details)})" if details else str(ended.code)


def _containers(view: PodView, reader: Reader) -> list[str]:
    rows = [_container_row(view, status, reader) for status in statuses(view.pod)]
    if not rows:
        return []
    table = Table(("NAME", "STATE", "RESTARTS", "LAST EXIT", "DEVICES"), rows)
    return [strong("Containers"), *table.folded(reader.width, indent="  ")]


def _container_row(view: PodView, status: ContainerStatus, reader: Reader) -> tuple[str, ...]:
    ended = next((cause.exit for cause in view.causes if cause.exit.container == status.name), None)
    last = f"{_exit_text(ended)}  {reader.clock(ended.finished)}" if ended else ""
    held = {device_name(entry): entry.health for entry in view.entries if entry.container == status.name}
    bad = [f"{list(held.values()).count(health)} of {len(held)} {str(health).lower()}" for health in (Health.UNHEALTHY, Health.UNKNOWN)]
    bad = [text for text in bad if not text.startswith("0 ")]
    devices = ", ".join(bad) or (f"{len(held)} healthy" if held else "none")
    return status.name, container_state(status) + _restart(status, ended, reader), str(status.restart_count), last, devices


def _restart(status: ContainerStatus, ended: Exit | None, reader: Reader) -> str:
    """`, in 2m40s`: when a kubelet that backs off starts it again; "" where nobody says."""
    said = _BACK_OFF.match(status.state.waiting.message) if status.state.waiting else None
    if said is None or ended is None or ended.finished is None:
        return ""
    left = ended.finished + int(said[1] or 0) * 60 + float(said[2]) - reader.now
    return f", in {age(left)}" if left >= 1 else ""


def container_state(status: ContainerStatus) -> str:
    """`Running`, `Waiting: CrashLoopBackOff`, `Terminated: Error`."""
    state = status.state
    if state.waiting:
        return f"Waiting: {state.waiting.reason}" if state.waiting.reason else "Waiting"
    if state.terminated:
        return f"Terminated: {state.terminated.reason}" if state.terminated.reason else "Terminated"
    return "Running" if state.running else "Waiting"


def _devices(view: PodView, reader: Reader) -> list[str]:
    if not view.entries:
        return _no_devices(view, reader)
    shown = [entry for entry in view.entries if reader.all_devices or len(view.entries) <= 4 or _worth_a_line(entry)]
    hidden = len(view.entries) - len(shown) + view.omitted.healthy
    lines: list[str] = []
    for claim, request, claim_name in dict.fromkeys((entry.claim or entry.entry, entry.request, entry.claim_name) for entry in shown):
        title = f'claim "{claim}"' + (f" → {claim_name}" if claim_name else "") + (f', request "{request}"' if request else "")
        held: dict[tuple[str, ...], list[str]] = {}
        for e in shown:
            if (e.claim or e.entry, e.request, e.claim_name) == (claim, request, claim_name):
                held.setdefault((device_name(e), e.device, str(e.health), reader.since(e.since), _why(e, reader)), []).append(e.container)
        rows = [(device, health, since, ", ".join(sorted(by)), why) for (_, device, health, since, why), by in held.items()]
        note = f"   ({hidden} healthy hidden: --all)" if hidden and not lines else ""
        table = Table(("DEVICE", "HEALTH", "SINCE", "CONTAINER", "WHY"), rows)
        lines += [f"{strong('Devices')}   {wrapped(title + note, reader.width - 10, ' ' * 10)}", *table.folded(reader.width, indent="  ")]
    if not shown:
        lines = [f"{strong('Devices')}   {hidden} healthy (--all lists them)"]
    worse = view.omitted.unhealthy + view.omitted.unknown
    return lines + ([f"  and {worse} more that are not healthy, left out of the annotation for its size"] if worse else [])


def _worth_a_line(entry: DeviceEntry) -> bool:
    return entry.health is not Health.HEALTHY or bool(entry.faults)


def _why(entry: DeviceEntry, reader: Reader) -> str:
    if entry.health is not Health.HEALTHY or not entry.faults:
        return entry.message
    last = entry.faults[-1]
    text = f"last fault {reader.clock(last.start)}–{reader.clock(last.until)}: {last.message or last.health}"
    return f"{entry.message}; {text}" if entry.message else text


def _no_devices(view: PodView, reader: Reader) -> list[str]:
    claims = [claim.name for claim in view.pod.spec.resource_claims]
    if not claims:
        return ["This pod asks for no devices (it has no resource claims)."]
    names = ", ".join(f'"{name}"' for name in claims)
    if view.unplaced:
        text = f"It waits for a node, and so for its devices (claim{'s' * (len(claims) > 1)} {names}): {clean(view.unplaced)}"
    else:
        text = f"Nothing is known of its devices (claim{'s' * (len(claims) > 1)} {names}): see the last line."
    return [wrapped(text, reader.width, "")]


def _timeline(view: PodView, reader: Reader) -> list[str]:
    if not any(entry.faults for entry in view.entries):
        return []
    # Devices that change together (a driver falls silent, a switch dies) are one line.
    together: dict[tuple[int, str], list[tuple[float, str]]] = {}
    for entry in {device_name(entry): entry for entry in view.entries}.values():
        for when, text in _changes(entry):
            together.setdefault((int(when), text), []).append((when, entry.device))
    moments = [(min(when for when, _ in who), f"{_named([name for _, name in who])}  {text}") for (_, text), who in together.items()]
    moments += [(cause.exit.finished, _exit_moment(cause)) for cause in view.causes if cause.exit.finished is not None]
    lines = [strong("Timeline")]
    for when, text in sorted(moments):
        begin = f"  {reader.clock(when)}  "
        lines.append(begin + wrapped(text, reader.width - len(begin), " " * len(begin)))
    return lines


def _changes(entry: DeviceEntry) -> Iterator[tuple[float, str]]:
    for fault in entry.faults:
        late = " (found after the pod had ended)" if fault.after_end else ""
        if fault.start:
            yield fault.start.timestamp(), f"→ {fault.health}: {clean(fault.message)}{late}"
        if fault.until:
            yield fault.until.timestamp(), f"{fault.health} no longer"


def _named(devices: list[str]) -> str:
    return (
        devices[0]
        if len(devices) == 1
        else f"{devices[0]} … {devices[-1]} ({len(devices)} devices)"
        if len(devices) > 2
        else ", ".join(devices)
    )


def _exit_moment(cause: Cause) -> str:
    text = f"{cause.exit.container}  exit {_exit_text(cause.exit)}"
    if cause.verdict is not Verdict.EXPLAINED or cause.entry is None or cause.fault is None or cause.fault.start is None:
        return text
    # Exits are whole seconds, rounded down, so a difference of less than one says nothing about the order.
    gap = (cause.exit.finished or 0.0) - cause.fault.start.timestamp()
    if cause.relation is Relation.JUST_AFTER:
        text += f", {age(-gap)} before the fault was noticed"
    elif gap >= 1:
        text += f", {age(gap)} after the fault"
    return f"{text}   ← explained by {cause.entry.device}"


def _source(view: PodView, reader: Reader) -> list[str]:
    return [f"{strong('Source')}  {wrapped(' '.join(_sources(view, reader)), reader.width - 8, ' ' * 8)}"]


def _sources(view: PodView, reader: Reader) -> Iterable[str]:
    if view.trouble:
        yield f"{view.trouble}."
    agent = view.agent
    if view.source is Source.AGENT:
        if agent.hidden:
            yield f"agent on {agent.node}; whether it is alive you may not see (no right to get leases in its namespace)."
        elif view.silent and agent.renewed is None:
            yield f"agent on {agent.node} has left no Lease: health is Unknown. Are the agents in another namespace? (--agent-namespace)"
        elif view.silent:
            yield f"agent on {agent.node} silent since {reader.clock(agent.renewed)}: health is Unknown until it is back."
        elif view.untold is not None:
            since = reader.clock(view.untold)
            yield f"agent on {agent.node}, alive, could not write this pod since {since}: health is Unknown until it can."
        elif agent.alive(reader.now):
            yield f"agent on {agent.node}, alive {reader.ago(agent.renewed)} ago."
        else:  # of an ended pod it owes nothing more
            yield f"agent on {agent.node}, {f'silent since {reader.clock(agent.renewed)}' if agent.renewed is not None else 'gone since'}."
        yield (_LAST_WORD if view.doubted else _AGREEMENT)[view.agreement].format(difference=view.difference)
    elif view.source is Source.KUBELET:
        yield "the kubelet's own field alone: no podvitals agent speaks for this pod, so there is no history,"
        yield "and the device of a silent driver may still read Healthy."
    elif view.pod.spec.resource_claims:
        node = view.pod.spec.node_name
        yield f"nobody: no podvitals agent on {node} and nothing in the kubelet's field." if node else "nobody: the pod is on no node yet."
    else:
        yield "the pod's own status."


_AGREEMENT = {
    Agreement.AGREES: "The kubelet's own field agrees.",
    Agreement.DIFFERS: "The kubelet's own field is late or blind: {difference}.",
    Agreement.SILENT: "The kubelet's own field says nothing.",
    Agreement.ENDED: "The pod has ended: health is as of then.",
    Agreement.NOT_ASKED: "",
}
_LAST_WORD = _AGREEMENT | {
    Agreement.AGREES: "The kubelet's own field says what the agent wrote last.",
    Agreement.DIFFERS: "The kubelet's own field differs from what the agent wrote last: {difference}.",
}
