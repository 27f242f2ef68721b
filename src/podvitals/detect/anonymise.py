"""Takes out of a recording what tells one machine or person from another: serial numbers, MACs, UUIDs, IP addresses, names of programs and
hosts. Pure. The same thing gets the same stand-in throughout, so that the recording still means what it meant.

PCI addresses, kinds of devices, counters and times stay: rules need them, and they say nothing of whose they are.
"""

import json
import re
from typing import Any

from podvitals.detect.inventory import device_name

SECRET = re.compile(r"serial|uuid|wwn|wwid|guid|mac|eui|nguid|address|host", re.IGNORECASE)
"""Attributes and params whose values are taken out, wherever they stand."""
_KEPT = re.compile(r"pci", re.IGNORECASE)
_SHAPES = (
    ("uuid", re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)),
    ("mac", re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", re.IGNORECASE)),
    ("ip", re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")),
    (
        "ip",
        re.compile(
            r"(?<![\w:.])(?:(?:[0-9a-f]{1,4}:){7}|(?:[0-9a-f]{1,4}:){1,6}:|::)(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?(?![\w:.])",
            re.IGNORECASE,
        ),
    ),
    ("id", re.compile(r"\b(?:0x|eui\.|naa\.|wwn-)[0-9a-f]{16,32}\b", re.IGNORECASE)),
)
_PROGRAM = re.compile(r"(\bname=|\bhostname=|\bcomm[:=] ?|, in (?=\S+ \[\d+\]))([^\s,\]\"\[]+)")
_PROCESS = re.compile(r"(\bpid=|(?<=\S) \[)\d+")
SHORTEST = 4
"""Characters of a secret that is looked for in other texts: a shorter one would be found everywhere."""


class Anonymiser:
    def __init__(self, *hosts: str) -> None:
        self._stand_ins: dict[str, str] = {}
        for host in hosts:
            self._stand_in("host", host)

    def line(self, text: str) -> str:
        """One line of a recording, JSON in and out."""
        document = json.loads(text)
        self._learn(document)
        return json.dumps(self._clean(document, ""), ensure_ascii=False)

    def _learn(self, value: Any) -> None:
        """Secrets are learnt before anything is written: names made of them come earlier in the line."""
        if isinstance(value, dict):
            for name, one in value.items():
                if isinstance(one, str) and _is_secret(name) and len(one) >= SHORTEST:
                    self._stand_in(_kind(name), one)
                else:
                    self._learn(one)
        elif isinstance(value, list):
            for one in value:
                self._learn(one)

    def _clean(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name == "params" and isinstance(program := value.get("name"), str):
                value = value | {"name": self._stand_in("program", program)}
            return {key: self._clean(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [self._clean(one, name) for one in value]
        if not isinstance(value, str):
            return value
        if name == "pid":
            return "0"
        return self._text(value)

    def _text(self, text: str) -> str:
        for kind, shape in _SHAPES:
            text = shape.sub(lambda found, kind=kind: self._stand_in(kind, found[0]), text)  # type: ignore[misc]
        for secret, stand_in in self._stand_ins.items():
            if secret in text:
                text = text.replace(secret, stand_in)
        return _PROCESS.sub(r"\g<1>0", _PROGRAM.sub(lambda found: f"{found[1]}{self._stand_in('program', found[2])}", text))

    def _stand_in(self, kind: str, secret: str) -> str:
        if secret.startswith("<") or secret in self._stand_ins.values():
            return secret
        if secret not in self._stand_ins:
            number = len(self._stand_ins) + 1
            self._stand_ins[secret] = f"{kind}-{number}"
            if len(label := device_name(secret)) >= SHORTEST:  # devices are named by their serial numbers
                self._stand_ins.setdefault(label, f"{kind}-{number}")
        return self._stand_ins[secret]


def _is_secret(name: str) -> bool:
    return SECRET.search(name) is not None and _KEPT.search(name) is None


def _kind(name: str) -> str:
    return name.rpartition("/")[2].lower()[:16]
