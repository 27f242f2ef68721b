"""Detectors as an operator names them: `FAMILY[:WHAT[,WHAT...][,option=value...]]`, such as `nvidia`, `sim:/run/sim,interval=1` or
`net:eth*,bond0`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module

from podvitals.detect.detector import Detector, check_detector
from podvitals.detect.family import Family
from podvitals.detect.judge import Tap
from podvitals.detect.roots import Roots
from podvitals.detect.rules.rule import Rules
from podvitals.errors import InvalidInput

FAMILIES: Mapping[str, str] = {
    "nvidia": "podvitals.detect.families.nvidia",
    "pcie": "podvitals.detect.families.pcie",
    "kmsg": "podvitals.detect.families.kmsg",
    "nic": "podvitals.detect.families.nic",
    "nvme": "podvitals.detect.families.nvme",
    "block": "podvitals.detect.families.block",
    "rdma": "podvitals.detect.families.rdma",
    "amd": "podvitals.detect.families.amd",
    "intel": "podvitals.detect.families.intel",
    "nodes": "podvitals.detect.families.nodes",
    "fpga": "podvitals.detect.families.fpga",
    "hwmon": "podvitals.detect.families.hwmon",
    "probe": "podvitals.detect.families.probe",
    "net": "podvitals.detect.net",
    "files": "podvitals.detect.files",
    "sim": "podvitals.detect.sim",
}
"""Family → its module, imported only when asked for. One of hardware offers `FAMILY`, its class; one of none, or that takes more than
patterns, `from_spec(spec) -> Detector`."""
_OPTION = re.compile(r"([a-z][a-z0-9_]*)=(.*)", re.DOTALL)
_TIMES = ("interval", "timeout", "lease")


@dataclass(frozen=True, slots=True)
class Spec:
    """`what`: the words that are not options. `options`: those the family has to understand."""

    text: str
    family: str
    what: tuple[str, ...]
    options: Mapping[str, str]

    def only(self, *known: str) -> "Spec":
        """Refuses options other than `known` and the three times every family takes."""
        for name in self.options:
            if name not in known and name not in _TIMES:
                raise self.wrong(f"{self.family} has no option {name!r}; it has {', '.join((*known, *_TIMES))}")
        return self

    def wrong(self, why: str) -> InvalidInput:
        return InvalidInput(f"detector {self.text!r}: {why}")


@dataclass(frozen=True, slots=True)
class Equipment:
    """What families are given: where the machine's files are, rules (None: the family's), who is told all that is read."""

    roots: Roots = field(default_factory=Roots)
    rules: Rules | None = None
    tap: Tap | None = None

    def give(self, detector: Detector) -> Detector:
        """Only a family of hardware has use for it."""
        if isinstance(detector, Family):
            detector.roots, detector.tap = self.roots, self.tap
            if self.rules is not None:
                detector.rules = self.rules
        return detector


def family_of(name: str) -> type[Family] | None:
    """The class of a family of hardware; None for what has no hardware of its own (simulated devices)."""
    found = getattr(import_module(FAMILIES[name]), "FAMILY", None)
    return found if isinstance(found, type) and issubclass(found, Family) else None


def parse(text: str, equipment: Equipment | None = None) -> Detector:
    """The detector that `text` asks for. Raises InvalidInput, which quotes it."""
    family, _, rest = text.partition(":")
    if family not in FAMILIES:
        close = get_close_matches(family, FAMILIES, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InvalidInput(f"detector {text!r}: {family!r} is no family{hint}: write one of {', '.join(FAMILIES)}, and behind it :WHAT")
    what, options = [], {}
    for word in filter(None, rest.split(",")):
        if (option := _OPTION.fullmatch(word)) is not None:
            options[option[1]] = option[2]
        else:
            what.append(word)
    spec = Spec(text, family, tuple(what), options)
    detector = (equipment or Equipment()).give(_made(spec))
    for name in _TIMES:
        if name in options:
            setattr(detector, name, _seconds(spec, name, options[name]))
    return check_detector(detector)


def _made(spec: Spec) -> Detector:
    module = import_module(FAMILIES[spec.family])
    make: Callable[[Spec], Detector] | None = getattr(module, "from_spec", None)
    if make is not None:
        return make(spec)
    family: type[Family] = module.FAMILY
    return family(*spec.only().what)


def _seconds(spec: Spec, name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise spec.wrong(f"{name}={text!r} is not a number of seconds between 0 and a day")
    return seconds
