"""What is known of one device, for a person: the verdict, the rules that spoke, and what each family read. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podvitals.detect.detector import Device
from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.rule import Rule, Rules
from podvitals.device.health import Health
from podvitals.device.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Spoken:
    """A rule that applies, and its words."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict` None: nothing has been read yet. `values`, `unread`: by family and by the names of signals. `counts`: how often each rule's
    signal was seen."""

    device: Device
    verdict: Verdict | None
    spoken: tuple[Spoken, ...] = ()
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unread: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(spoken.rule.id for spoken in self.spoken))

    @property
    def health(self) -> Health:
        """Unknown where nothing has been read."""
        return self.verdict.health if self.verdict is not None else Health.UNKNOWN

    @property
    def badness(self) -> tuple[int, bool]:
        """How bad, for the worst to stand first: the health, then whether there is something to say."""
        return self.health.badness, bool(self.verdict is not None and self.verdict.message)

    @property
    def families(self) -> tuple[str, ...]:
        """Those that read it."""
        return tuple(dict.fromkeys((*self.values, *self.unread)))


def finding(device: Device, verdict: Verdict | None, rules: Rules, evidence: Evidence) -> Finding:
    name = device.name
    spoken = tuple(Spoken(rules.rules[reason.rule], reason.text) for reason in evidence.reasons(name) if reason.rule)
    return Finding(device, verdict, spoken, evidence.values(name), evidence.unread(name), evidence.counts(name))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are equally bad stay in their order."""
    return sorted(findings, key=lambda one: one.badness, reverse=True)
