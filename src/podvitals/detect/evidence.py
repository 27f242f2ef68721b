"""All devices of one driver: signals and rules in, Readings out. Pure: `now` goes in, deadlines come out.

Several families may speak of one device; there is one case of it, and one damper, for they see the same hardware: what one is told may end
what another found, or make it less.

* Never Healthy while a fatal condition is there; never more changes in a window than the damping allows; each change carries its evidence.
* Degraded is Healthy with a message. The message holds every reason, the worst first, in at most 1,024 bytes.
* A snapshot, restored, goes on as if nothing had been interrupted. After a reboot counters begin anew and what needed a reset or a reboot
  is over; what needs a service stays.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from podvitals.detect.case import Case, Condition, Doubt, Reason, Transition, Value, facts_of
from podvitals.detect.detector import Reading
from podvitals.detect.rules.rule import Damping, GrowthMatch, Rules
from podvitals.detect.rules.words import number
from podvitals.detect.signal import Signal
from podvitals.detect.tally import Tally

FORMAT = 1
IDENTITY = "serial"
"""The fact that tells a device from another one under its name."""


class Evidence:
    def __init__(self, rules: Rules, damping: Damping | None = None) -> None:
        self._rules, self._damping = rules, damping or rules.damping
        self._cases: dict[str, Case] = {}
        self._states: dict[str, object] = {}
        self.revision = 0
        """Grows whenever something changed that a restart must not lose: a fault, or what is shown. Counters alone do not count."""

    def know(self, device: str, attributes: Mapping[str, object], source: str = "") -> None:
        """What messages may name of a device. Another serial number means another device: what was known against the old one goes."""
        facts = facts_of(attributes)
        case = self._case(device)
        before = case.known.get(source, {})
        if before.get(IDENTITY) and facts.get(IDENTITY) and before[IDENTITY] != facts[IDENTITY]:
            case = self._cases[device] = Case(self._rules, self._damping)
        case.know(facts, source)

    def take(
        self, device: str, signals: Iterable[Signal], now: float, *, whole: bool = True, since: float = math.inf, source: str = ""
    ) -> Reading:
        """What the device is after these signals. `whole`: they are everything that `source` can poll, read from `since` on (by default at
        once); otherwise they were pushed, and touch only what they name."""
        case = self._case(device)
        case.take(signals, now, whole=whole, since=since, source=source)
        return self.look(device, now)

    def fail(self, device: str, why: str, now: float, source: str = "") -> Reading:
        """What the device is after `source` could read nothing of it: Unknown at least."""
        self._case(device).fail(why, source)
        return self.look(device, now)

    def look(self, device: str, now: float) -> Reading:
        """The same without news: time alone ends things."""
        case = self._case(device)
        case.pass_time(now)
        reading = case.reading(now)
        if (state := case.state) != self._states.get(device):
            self._states[device] = state
            self.revision += 1
        return reading

    def reasons(self, device: str) -> tuple[Reason, ...]:
        """What is the matter, undamped."""
        return tuple(self._case(device).reasons())

    def counts(self, device: str) -> Mapping[str, int]:
        """How often each rule's event was seen, those of programs included."""
        return dict(self._case(device).counts)

    def transitions(self, device: str) -> tuple[Transition, ...]:
        """The latest changes of what was shown."""
        return tuple(self._case(device).history)

    def needed(self, device: str) -> frozenset[str]:
        """What the device waits for: reset, reboot, service."""
        return frozenset(
            needs for condition in self._case(device).conditions.values() if (needs := self._rules.rules[condition.rule].needs)
        )

    def values(self, device: str) -> Mapping[str, Mapping[str, str]]:
        """What was last read of the device, by source and by the names of signals."""
        found: dict[str, dict[str, str]] = {}
        for key, value in sorted(self._case(device).values.items(), key=lambda one: one[0]):
            text = number(value.value) if not isinstance(value.value, str) else value.value
            found.setdefault(value.source, {})[_label(*key)] = text
        return found

    def unread(self, device: str) -> Mapping[str, Mapping[str, str]]:
        """What could not be read, and why; in the same order."""
        found: dict[str, dict[str, str]] = {}
        for key, doubt in sorted(self._case(device).unread.items(), key=lambda one: one[0]):
            found.setdefault(doubt.source, {})[_label(*key)] = doubt.why
        return found

    def only(self, sources: Collection[str], now: float) -> None:
        """Forgets what others read; what they were told ends as its rule says."""
        for case in self._cases.values():
            known = {value.source for value in case.values.values()} | {doubt.source for doubt in case.unread.values()}
            for source in known.difference(sources):
                case.forget(source, now)

    def _case(self, device: str) -> Case:
        if (case := self._cases.get(device)) is None:
            case = self._cases[device] = Case(self._rules, self._damping)
        return case

    # --- over a restart --------------------------------------------------------------------------------------------------------------

    def snapshot(self, now: float, wall: float, boot: str) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "format": FORMAT,
            "boot": boot,
            "now": now,
            "wall": wall,
            "devices": {name: _case_document(case) for name, case in sorted(self._cases.items())},
        }

    def restore(self, document: Mapping[str, Any], now: float, wall: float, boot: str) -> None:
        """What `snapshot` gave. Raises KeyError, TypeError or ValueError where it is no such document. Rules that are not there any more
        take their conditions along."""
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']}, this podvitals reads {FORMAT}")
        rebooted = document["boot"] != boot
        # Across a boot the clock since boot begins anew: the wall clock tells how long ago, and never less than this boot has lasted.
        shift = now - max(wall - document["wall"], now, 0.0) - document["now"] if rebooted else 0.0
        cases = {}
        for name, saved in document["devices"].items():
            cases[name] = Case(self._rules, self._damping)
            _restore_case(cases[name], saved, shift, rebooted=rebooted)
        self._cases = cases


def _label(name: str, part: str) -> str:
    return f"{name}[{part}]" if part else name


def _case_document(case: Case) -> dict[str, Any]:
    conditions = sorted(case.conditions.values(), key=lambda one: one.since)
    return {
        "known": {source: dict(facts) for source, facts in case.known.items()},
        "conditions": [[c.rule, c.part, dict(c.fields), c.since, c.last, c.escalated, c.over] for c in conditions],
        "values": [[*key, v.value, v.text, v.source, v.polled, _finite(v.pushed_at)] for key, v in case.values.items()],
        "unread": [[*key, doubt.why, doubt.source, doubt.polled] for key, doubt in case.unread.items()],
        "baselines": [[*key, *baseline] for key, baseline in case.baselines.items()],
        "firsts": [[*key, value] for key, value in case.firsts.items()],
        "tallies": [[*key, list(tally.seen)] for key, tally in case.tallies.items()],
        "pending": [[*key, since] for key, since in case.pending.items()],
        "counts": dict(case.counts),
        "told": [[*key, *told] for key, told in case.told.items()],
        "damper": case.damper.snapshot(),
        "kept": [[reason.rank, reason.text, reason.action, reason.rule] for reason in case.kept],
    }


def _finite(at: float) -> float | None:
    return at if math.isfinite(at) else None


def _restore_case(case: Case, saved: Mapping[str, Any], shift: float, *, rebooted: bool) -> None:
    rules = case.rules.rules
    for source, facts in saved["known"].items():
        case.know({str(name): str(value) for name, value in facts.items()}, str(source))
    case.counts = {str(rule): int(count) for rule, count in saved["counts"].items()}
    for rule, part, fields, since, last, escalated, over in saved["conditions"]:
        if rule not in rules or (rebooted and (rules[rule].clears or rules[rule].needs in ("reset", "reboot"))):
            continue
        over = None if over is None else over + shift
        case.conditions[rule, part] = Condition(rule, part, dict(fields), since + shift, last + shift, bool(escalated), over)
    for rule, part, seen in saved["tallies"]:
        if rule in rules and (limits := _limits(case, rule)) is not None:
            case.tallies[rule, part] = Tally(*limits)
            case.tallies[rule, part].seen.extend((float(at) + shift, float(weight)) for at, weight in seen)
    case.told = {(rule, part): (float(at) + shift, str(source)) for rule, part, at, source in saved["told"]}
    case.damper.restore(saved["damper"], shift, rebooted=rebooted)
    if rebooted:
        return
    for name, part, value, text, source, polled, pushed_at in saved["values"]:
        case.values[name, part] = Value(value, text, source, polled, -math.inf if pushed_at is None else pushed_at)
    case.unread = {(name, part): Doubt(why, source, polled) for name, part, why, source, polled in saved["unread"]}
    case.baselines = {(name, part): (int(value), float(at)) for name, part, value, at in saved["baselines"]}
    case.firsts = {(name, part): str(value) for name, part, value in saved["firsts"]}
    case.pending = {(rule, part): float(since) for rule, part, since in saved["pending"] if rule in rules}
    case.kept = tuple(Reason(int(rank), str(text), str(action), str(rule)) for rank, text, action, rule in saved["kept"])


def _limits(case: Case, rule: str) -> tuple[float, float] | None:
    """What a tally of this rule counts up to, and within which time: of its rate, or of its escalation."""
    made = case.rules.rules[rule]
    if isinstance(made.match, GrowthMatch) and made.match.within:
        return made.match.grew, made.match.within
    return (made.escalate.at, made.escalate.within) if made.escalate is not None else None
