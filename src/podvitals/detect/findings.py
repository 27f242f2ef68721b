"""What is known of one device, for a person: the verdict, and by family what was read and which rules spoke. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from podvitals.detect.detector import Device
from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.rule import Rule, Rules
from podvitals.device.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Spoken:
    """A rule that applies, and its words."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """What one family knows. `values`, `unread`: by the names of signals. `counts`: how often each rule's signal was seen."""

    family: str
    spoken: tuple[Spoken, ...]
    values: Mapping[str, str]
    unread: Mapping[str, str]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict` None: nothing has been read yet."""

    device: Device
    verdict: Verdict | None
    words: tuple[Word, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(spoken.rule.id for word in self.words for spoken in word.spoken))


def finding(device: Device, verdict: Verdict | None, rules: Rules, evidence: Mapping[str, Evidence]) -> Finding:
    words = []
    for family, known in evidence.items():
        values, unread, counts = known.values(device.name), known.unread(device.name), known.counts(device.name)
        spoken = tuple(Spoken(rules.rules[reason.rule], reason.text) for reason in known.reasons(device.name) if reason.rule)
        if values or unread or counts or spoken:
            words.append(Word(family, spoken, values, unread, counts))
    return Finding(device, verdict, tuple(words))
