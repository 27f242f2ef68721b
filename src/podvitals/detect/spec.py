"""Detectors as an operator names them: `FAMILY:WHAT[,WHAT...][,option=value...]`, such as `sim:/run/sim,interval=1` or `net:eth*,bond0`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from podvitals.detect.detector import Detector, check_detector
from podvitals.errors import InvalidInput

FAMILIES: Mapping[str, str] = {"sim": "podvitals.detect.sim", "files": "podvitals.detect.files", "net": "podvitals.detect.net"}
"""Family → its module, which offers `from_spec(spec) -> Detector`; imported only when asked for."""
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


def parse(text: str) -> Detector:
    """The detector that `text` asks for. Raises InvalidInput, which quotes it."""
    family, colon, rest = text.partition(":")
    if not colon or family not in FAMILIES:
        raise InvalidInput(f"detector {text!r}: write one of {', '.join(f'{name}:...' for name in FAMILIES)}")
    what, options = [], {}
    for word in filter(None, rest.split(",")):
        if (option := _OPTION.fullmatch(word)) is not None:
            options[option[1]] = option[2]
        else:
            what.append(word)
    spec = Spec(text, family, tuple(what), options)
    make: Callable[[Spec], Detector] = import_module(FAMILIES[family]).from_spec
    detector = make(spec)
    for name in _TIMES:
        if name in options:
            setattr(detector, name, _seconds(spec, name, options[name]))
    return check_detector(detector)


def _seconds(spec: Spec, name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise spec.wrong(f"{name}={text!r} is not a number of seconds between 0 and a day")
    return seconds
