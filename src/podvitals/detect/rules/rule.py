"""What a rule is. Pure.

A rule matches signals, says what they mean (class, action, message) and how that ends:
* `clears`: with the signal; for something said once, when a rule of the pair cancels it
* `needs`: at a reset, a reboot, or when somebody says that it was serviced
* `expires`: after a quiet time
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podvitals.detect.rules.line import Line


class Class(StrEnum):
    HEALTHY = "healthy"
    """Says nothing; it may cancel other rules."""
    APPLICATION = "application"
    """The program's fault: no verdict, only counted; repeats may escalate."""
    DEGRADED = "degraded"
    """Healthy, with a message."""
    UNKNOWN = "unknown"
    """Cannot be told."""
    FATAL = "fatal"
    """Unhealthy."""

    @property
    def rank(self) -> int:
        """How bad: 0 says nothing, 3 is fatal."""
        return _RANKS[self]


_RANKS = {Class.HEALTHY: 0, Class.APPLICATION: 0, Class.DEGRADED: 1, Class.UNKNOWN: 2, Class.FATAL: 3}

WORST = Class.FATAL.rank


@dataclass(frozen=True, slots=True)
class Damping:
    """`changes`: most in `window` seconds; enough for one way down to the worst and the first step back. `hold`: seconds something better
    must last."""

    changes: int = 8
    window: float = 600.0
    hold: float = 0.0

    def __post_init__(self) -> None:
        if self.changes <= WORST:
            raise ValueError(f"changes must be more than {WORST}: all the way down, and one back")


NEEDS = ("reset", "reboot", "service")
ANY = "*"
"""As a code: any of the table that no rule names."""


@dataclass(frozen=True, slots=True)
class CodeMatch:
    """One of `codes` of `table` was said, with each param of `where` being one of its values. Of the rules that match one code, those with
    the most `where` count."""

    table: str
    codes: tuple[str, ...]
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class GrowthMatch:
    """A counter grew by `grew` at least: between two readings, or with `within` in as many seconds."""

    counter: str
    grew: int = 1
    within: float = 0.0


@dataclass(frozen=True, slots=True)
class StateMatch:
    """A state is one of `values`, or (`differs`) none of them. `became`: only if it was another one when first read."""

    state: str
    values: tuple[str, ...]
    differs: bool = False
    became: bool = False


@dataclass(frozen=True, slots=True)
class LevelMatch:
    """A level, or a counter as it stands, is above (at least: `or_equal`) or below a number, or another level of the same part."""

    level: str
    than: float | str
    above: bool
    or_equal: bool = False


Match = CodeMatch | GrowthMatch | StateMatch | LevelMatch


@dataclass(frozen=True, slots=True)
class Escalation:
    """`at` occurrences within `within` seconds on one device mean more than one does."""

    at: int
    within: float
    verdict: Class
    action: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`id`: family and name, "xid.79".

    Of the seconds: `lasting`, that a match must last before it counts; `hold`, that it is held after it ended; `fresh`, after which
    something said does not count any more. `yields_to`: a state that knows better; while it is known, this rule says degraded at most.
    `per`: the param of a code that tells parts of the device apart ("link"), each a condition of its own.
    `source`: where the meaning comes from. `origin`: the file, where it is an operator's."""

    id: str
    match: Match
    verdict: Class
    message: str
    action: str = ""
    needs: str = ""
    expires: float = 0.0
    cancels: tuple[str, ...] = ()
    escalate: Escalation | None = None
    lasting: float = 0.0
    hold: float = 0.0
    fresh: float = 0.0
    yields_to: str = ""
    per: str = ""
    source: str = ""
    note: str = ""
    origin: str = ""

    @property
    def family(self) -> str:
        return self.id.partition(".")[0]

    @property
    def clears(self) -> bool:
        return not self.needs and not self.expires


@dataclass(frozen=True)
class Rules:
    """All rules by id, in the order of their files; what each family is about; how often a verdict may change; the lines of the kernel log
    that are known, by id."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    damping: Damping = field(default_factory=Damping)
    lines: Mapping[str, Line] = field(default_factory=dict)
    _by_code: dict[str, list[Rule]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _by_name: dict[str, list[Rule]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        by_code, by_name = self._by_code, self._by_name
        for rule in self.rules.values():
            match rule.match:
                case CodeMatch() as said:
                    by_code.setdefault(said.table, []).append(rule)
                case GrowthMatch() as growth:
                    by_name.setdefault(growth.counter, []).append(rule)
                case StateMatch() as state:
                    by_name.setdefault(state.state, []).append(rule)
                case LevelMatch(level=name, than=than):
                    by_name.setdefault(name, []).append(rule)
                    if isinstance(than, str):
                        by_name.setdefault(than, []).append(rule)

    def of_code(self, table: str, code: str, params: Mapping[str, str]) -> tuple[Rule, ...]:
        """The rules that apply to something said once: the most specific of those that match."""
        found: list[tuple[tuple[bool, int], Rule]] = []
        for rule in self._by_code.get(table, ()):
            how = rule.match
            if not isinstance(how, CodeMatch) or any(params.get(name) not in values for name, values in how.where):
                continue
            if code in how.codes or ANY in how.codes:
                found.append(((code in how.codes, len(how.where)), rule))
        best = max((specific for specific, _ in found), default=None)
        return tuple(rule for specific, rule in found if specific == best)

    def of_table(self, table: str) -> tuple[Rule, ...]:
        """The rules about codes of a table."""
        return tuple(self._by_code.get(table, ()))

    def of_name(self, name: str) -> tuple[Rule, ...]:
        """The rules about a counter, state or level."""
        return tuple(self._by_name.get(name, ()))

    def knows(self, name: str) -> bool:
        """Whether some rule asks about a counter, state or level."""
        return name in self._by_name

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules.values())

    def __len__(self) -> int:
        return len(self.rules)
