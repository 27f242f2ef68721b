"""What is known against one device: signals in, conditions by rule, the damped verdict out. Pure, no clock inside.

A condition is a rule that applies, to one part of the device. It begins with a match and ends as its rule says: with the match, at a reset,
a reboot, a service, or after a quiet time. A signal that cannot be read changes no condition; the device is Unknown beside them.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podvitals.detect.damping import Damper, Damping, Step
from podvitals.detect.detector import ACTIONS, Reading
from podvitals.detect.rules.rule import Class, CodeMatch, GrowthMatch, LevelMatch, Rule, Rules, StateMatch
from podvitals.detect.rules.words import filled, number
from podvitals.detect.signal import LIFE, Code, Count, Level, Signal, State, Unread
from podvitals.detect.tally import Tally
from podvitals.device.health import Health

Key = tuple[str, str]
"""Of a signal: name and part. Of a condition: rule and part."""
_HEALTHS = {Class.FATAL.rank: Health.UNHEALTHY, Class.UNKNOWN.rank: Health.UNKNOWN}
LONGEST_HISTORY = 32
ECHO = 10.0
"""Seconds within which two families may tell of one event."""
MOST_PARTS, MOST_TOLD = 32, 1024
ENDS = {"reset": ("reset",), "reboot": ("reset", "reboot"), "service": ("reset", "reboot", "service")}
"""What each code of a device's life ends."""


@dataclass(slots=True)
class Condition:
    """`since`, `last`: when it was first and last seen. `over`: since when its match has ended, while it is held."""

    rule: str
    part: str
    fields: dict[str, str]
    since: float
    last: float
    escalated: bool = False
    over: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a device is not simply healthy: a rule's, or of what could not be read ("")."""

    rank: int
    text: str
    action: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of what is shown, and its evidence: what is the matter now, or what was and is over."""

    at: float
    was: int
    now: int
    because: tuple[Reason, ...]


@dataclass(slots=True)
class Value:
    """The last of a state, level or counter, and who told it; `polled`: it was among what that source read all at once."""

    value: str | float
    text: str = ""
    source: str = ""
    polled: bool = False
    pushed_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that could not be read, by whom, and whether that was a reading of all at once."""

    why: str
    source: str
    polled: bool


@dataclass(slots=True)
class Case:
    rules: Rules
    damping: Damping
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    conditions: dict[Key, Condition] = field(default_factory=dict)
    values: dict[Key, Value] = field(default_factory=dict)
    unread: dict[Key, Doubt] = field(default_factory=dict)
    baselines: dict[Key, tuple[int, float]] = field(default_factory=dict)
    firsts: dict[Key, str] = field(default_factory=dict)
    tallies: dict[Key, Tally] = field(default_factory=dict)
    pending: dict[Key, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    told: dict[Key, tuple[float, str]] = field(default_factory=dict)
    history: deque[Transition] = field(default_factory=lambda: deque(maxlen=LONGEST_HISTORY))
    kept: tuple[Reason, ...] = ()
    damper: Damper = field(init=False)

    def __post_init__(self) -> None:
        self.damper = Damper(self.damping)

    def know(self, facts: dict[str, str], source: str) -> None:
        """What messages may name of the device; each family knows some of it."""
        self.known[source] = facts
        self.facts = {name: value for known in self.known.values() for name, value in known.items()}

    # --- signals ---------------------------------------------------------------------------------------------------------------------

    def take(self, signals: Iterable[Signal], now: float, *, whole: bool, since: float, source: str) -> None:
        """`whole`: these are all that `source` can poll, read from `since` on; what was pushed after that is newer."""
        seen: set[Key] = set()
        if whole:
            for key in [key for key, doubt in self.unread.items() if doubt.polled and doubt.source == source]:
                del self.unread[key]
        touched: dict[Key, None] = {}
        for signal in signals:
            if isinstance(signal, Code):
                self._said(signal, now, source)
                continue
            key = (signal.name, signal.part)
            seen.add(key)
            if not whole or (value := self.values.get(key)) is None or value.pushed_at < since:
                self._store(key, signal, now, whole=whole, source=source)
                touched[key] = None
        if whole:
            for key, value in list(self.values.items()):
                if value.polled and value.source == source and key not in seen and value.pushed_at < since:
                    del self.values[key]
                    touched[key] = None
        for key in touched:
            if key not in self.unread:
                self._weigh(key, now)

    def fail(self, why: str, source: str) -> None:
        """`source` could read nothing at all; until its next whole reading."""
        self.unread[source, ""] = Doubt(why, source, polled=True)

    def forget(self, source: str, now: float) -> None:
        """`source` will never read again: what it read, or could not read, would never be over otherwise."""
        self.unread = {key: doubt for key, doubt in self.unread.items() if doubt.source != source}
        for key in [key for key, value in self.values.items() if value.source == source]:
            del self.values[key]
            self._weigh(key, now)

    def _store(self, key: Key, signal: Count | State | Level | Unread, now: float, *, whole: bool, source: str) -> None:
        if isinstance(signal, Unread):
            self.unread[key] = Doubt(signal.why, source, whole)
            return
        self.unread.pop(key, None)
        text = signal.text if isinstance(signal, State) else ""
        before = self.values.get(key) or Value("")
        self.values[key] = Value(signal.value, text, source, whole or before.polled, before.pushed_at if whole else now)
        if isinstance(signal, State):
            self.firsts.setdefault(key, signal.value)
        elif isinstance(signal, Count):
            self._grow(key, signal, now)

    def _grow(self, key: Key, count: Count, now: float) -> None:
        before, self.baselines[key] = self.baselines.get(key), (count.value, now)
        if before is None or count.value <= before[0]:
            # The first value tells nothing of when it came to be. A lower one is a counter that began anew: nobody knows what it had
            # counted in between, and one that runs back a little (a sum over queues) must not look like a storm.
            return
        grown, elapsed = count.value - before[0], now - before[1]
        for rule in self.rules.of_name(count.name):
            match rule.match:
                case GrowthMatch(counter=count.name, grew=least, within=within):
                    if within:
                        # Spread evenly over the time in which it was not looked at.
                        self._tally((rule.id, count.part), least, within).add(now, grown * min(1.0, within / max(elapsed, 1e-9)))
                    elif grown >= least:
                        self._happened(rule, count.part, self._fields(rule, key), now, grown)

    def _said(self, code: Code, now: float, source: str) -> None:
        if code.table == LIFE and code.code in ENDS:
            self.ended(ENDS[code.code])
        # What is known of the device is said in the same words whoever told of the fault: so it goes before the line's own.
        fields = {"code": code.code, "text": code.text} | dict(code.params) | self.facts
        for rule in self.rules.of_code(code.table, code.code, dict(code.params)):
            at = now - code.age
            if (not rule.fresh or code.age <= rule.fresh) and not self._told_better(rule, code, source, at):
                part = self._part(rule, fields)
                self._happened(rule, part, fields | {"part": part}, at, 0 if self._echo(rule.id, part, source, at) else 1)

    def _part(self, rule: Rule, fields: Mapping[str, str]) -> str:
        """What of the device it is about, for rules that tell parts apart; beyond a bound they are one."""
        part = fields.get(rule.per, "") if rule.per else ""
        known = (rule.id, part) in self.conditions
        return part if known or sum(1 for name, _ in self.conditions if name == rule.id) < MOST_PARTS else ""

    def _echo(self, rule: str, part: str, source: str, at: float) -> bool:
        """Whether another family told of the same a moment ago: a library's event and the log's line are one error, not two."""
        before, teller = self.told.get((rule, part), (-math.inf, source))
        if teller != source and abs(at - before) <= ECHO:
            return True
        if len(self.told) < MOST_TOLD or (rule, part) in self.told:
            self.told[rule, part] = (at, source)
        return False

    def _told_better(self, rule: Rule, code: Code, source: str, at: float) -> bool:
        """Whether another family told of the same a moment ago and knew more: by a rule about this code that ends this one."""

        def better(other: Rule) -> bool:
            return isinstance(other.match, CodeMatch) and code.code in other.match.codes and rule.id in other.cancels

        return any(
            teller != source and abs(at - before) <= ECHO and better(self.rules.rules[name])
            for (name, _), (before, teller) in self.told.items()
            if name in self.rules.rules
        )

    def _happened(self, rule: Rule, part: str, fields: dict[str, str], at: float, times: int) -> None:
        """Something that happens, as against something that is so."""
        self.counts[rule.id] = self.counts.get(rule.id, 0) + times
        for cancelled in rule.cancels:
            self._end(cancelled)
        escalated = False
        if (more := rule.escalate) is not None:
            tally = self._tally((rule.id, part), more.at, more.within)
            tally.add(at, times)
            escalated = tally.reached(at)
        if rule.verdict.rank or escalated:
            condition = self._begin(rule, part, fields, at)
            condition.escalated = condition.escalated or escalated

    def _weigh(self, key: Key, now: float) -> None:
        """Whether each rule about a state or level that changed is so, or is not so any more."""
        for rule in self.rules.of_name(key[0]):
            where = (rule.id, key[1])
            if not isinstance(rule.match, GrowthMatch):
                if not self._so(rule, key[1]):
                    self.pending.pop(where, None)
                    self._over(where, rule, now)
                elif now >= self.pending.setdefault(where, now) + rule.lasting:
                    self._is_so(where, rule, now)

    def _is_so(self, where: Key, rule: Rule, now: float) -> None:
        if where not in self.conditions:
            self.counts[rule.id] = self.counts.get(rule.id, 0) + 1
            for cancelled in rule.cancels:
                self._end(cancelled)
        self._begin(rule, where[1], self._fields(rule, (_name(rule), where[1])), now)

    def _so(self, rule: Rule, part: str) -> bool:
        value = self.values.get((_name(rule), part))
        if value is None:
            return False
        match rule.match:
            case StateMatch(values=values, differs=differs, became=became):
                was_so = became and self.firsts.get((_name(rule), part)) in values
                return (value.value in values) is not differs and not was_so
            case LevelMatch(than=than, above=above, or_equal=or_equal):
                limit = self.values.get((than, part)) if isinstance(than, str) else Value(than)
                if limit is None or isinstance(limit.value, str) or isinstance(value.value, str):
                    return False
                if value.value == limit.value:
                    return or_equal
                return (value.value > limit.value) is above
        return False

    # --- conditions ------------------------------------------------------------------------------------------------------------------

    def _begin(self, rule: Rule, part: str, fields: dict[str, str], at: float) -> Condition:
        condition = self.conditions.setdefault((rule.id, part), Condition(rule.id, part, fields, at, at))
        condition.last, condition.over, condition.fields = max(condition.last, at), None, fields
        return condition

    def _over(self, where: Key, rule: Rule, now: float) -> None:
        condition = self.conditions.get(where)
        if condition is None or not rule.clears:
            return
        if rule.hold:
            condition.over = now if condition.over is None else condition.over
        else:
            del self.conditions[where]

    def _end(self, rule: str) -> None:
        for where in [where for where in self.conditions if where[0] == rule]:
            del self.conditions[where]
            self.pending.pop(where, None)

    def ended(self, needs: tuple[str, ...]) -> None:
        """What some conditions waited for has happened."""
        for where, condition in list(self.conditions.items()):
            if self.rules.rules[condition.rule].needs in needs:
                del self.conditions[where]
                self.tallies.pop(where, None)
                self.pending.pop(where, None)  # what was read before says nothing any more: the next reading does

    def pass_time(self, now: float) -> None:
        """Ends what is over by now, begins what has lasted."""
        for where, since in list(self.pending.items()):
            rule = self.rules.rules[where[0]]
            if now >= since + rule.lasting and where not in self.conditions and (_name(rule), where[1]) not in self.unread:
                self._is_so(where, rule, now)
        for where, tally in self.tallies.items():
            rule = self.rules.rules[where[0]]
            if isinstance(rule.match, GrowthMatch) and rule.match.within:
                if not tally.reached(now):
                    self._over(where, rule, now)
                else:
                    self._is_so(where, rule, now)
        for where, condition in list(self.conditions.items()):
            rule = self.rules.rules[condition.rule]
            quiet = rule.expires and now >= condition.last + rule.expires
            if quiet or (condition.over is not None and now >= condition.over + rule.hold):
                del self.conditions[where]

    def _tally(self, where: Key, enough: float, within: float) -> Tally:
        return self.tallies.setdefault(where, Tally(enough, within))

    def _fields(self, rule: Rule, key: Key) -> dict[str, str]:
        value, fields = self.values.get(key), self.facts | {"part": key[1]}
        if value is not None:
            fields |= {"value": number(value.value) if not isinstance(value.value, str) else value.value, "text": value.text}
        if isinstance(rule.match, LevelMatch):
            than = rule.match.than
            limit = self.values.get((than, key[1])) if isinstance(than, str) else Value(than)
            if limit is not None and not isinstance(limit.value, str):
                fields["other"] = number(limit.value)
        return fields

    # --- the verdict -----------------------------------------------------------------------------------------------------------------

    def reasons(self) -> list[Reason]:
        """Everything that is the matter, the worst first, then in the order in which it came."""
        found = [self._reason(condition) for condition in sorted(self.conditions.values(), key=lambda one: one.since)]
        by_why: dict[str, list[str]] = {}
        for (name, part), doubt in sorted(self.unread.items(), key=lambda one: one[0]):
            by_why.setdefault(doubt.why, []).append(f"{name.rpartition('.')[2].replace('_', ' ')}{f' of {part}' if part else ''}")
        found += [Reason(Class.UNKNOWN.rank, f"cannot read {', '.join(names)}: {why}") for why, names in by_why.items()]
        return sorted((reason for reason in found if reason.rank), key=lambda reason: -reason.rank)

    def _reason(self, condition: Condition) -> Reason:
        rule = self.rules.rules[condition.rule]
        verdict, action, message = rule.verdict, rule.action, rule.message
        if condition.escalated and (more := rule.escalate) is not None:
            verdict, action, message = more.verdict, more.action or action, more.message or message
        rank = verdict.rank
        if rule.yields_to and (rule.yields_to, "") in self.values and (rule.yields_to, "") not in self.unread:
            rank = min(rank, Class.DEGRADED.rank)
        return Reason(rank, filled(message, condition.fields), action, rule.id)

    @property
    def state(self) -> tuple[object, ...]:
        """What must not be lost: whatever changes rarely and matters."""
        return (self.damper.shown, *((c.rule, c.part, c.escalated) for c in self.conditions.values()))

    def reading(self, now: float) -> Reading:
        """What is shown: never better than the evidence, and better than before only as often as the damping lets it."""
        reasons = self.reasons()
        wanted, shown = reasons[0].rank if reasons else 0, self.damper.shown
        step = self.damper.step(wanted, now)
        rank = self.damper.shown or 0
        if step is Step.SHOW:
            if shown is not None and rank != shown:
                because = [reason for reason in reasons if reason.rank == rank] if rank > shown else self.kept
                self.history.append(Transition(now, shown, rank, tuple(because)))
            self.kept = tuple(reason for reason in reasons if reason.rank == rank)
        else:
            reasons = [*self.kept, *reasons]
        texts = list(dict.fromkeys(reason.text for reason in reasons))
        if texts and self.damper.comes_and_goes(now):
            texts[0] += " (it comes and goes)"
        asked = max((reason for reason in reasons if reason.action), key=lambda one: (one.rank, ACTIONS.index(one.action)), default=None)
        return Reading(_HEALTHS.get(rank, Health.HEALTHY), "; ".join(texts), asked.action if asked is not None else "")


def _name(rule: Rule) -> str:
    match rule.match:
        case GrowthMatch(counter=name) | StateMatch(state=name) | LevelMatch(level=name):
            return name
    return ""


def facts_of(attributes: Mapping[str, object]) -> dict[str, str]:
    """What messages may name of a device's attributes: `ifname`, and `pci` for resource.kubernetes.io/pciBusID."""
    facts = {name.rpartition("/")[2]: str(value) for name, value in attributes.items()}
    if "pciBusID" in facts:
        facts["pci"] = facts["pciBusID"]
    return facts
