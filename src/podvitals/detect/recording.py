"""What came from the hardware, as lines of JSON: whoever has the file can run the same rules, or others, again. Pure.

One object a line; `at` counts seconds from the beginning. The first line says what it is. `read` is everything polled of a device at once
(`same`: as before), `told` what was pushed; what the kernel log said has the line as it was in `text`. `line` is a line of that log that
names one of the devices, and `names` what it calls them: by these the replay reads the log again, and what it was taken to say when it was
recorded does not count.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from podvitals.detect import kernellog
from podvitals.detect.detector import Device, Version
from podvitals.detect.signal import Code, Count, Level, Signal, State, Unread
from podvitals.detect.subject import Subject
from podvitals.device.key import check_device_name
from podvitals.errors import InvalidInput

FORMAT = 2
FORMATS = (1, 2)
"""1 had no lines of the kernel log but those that meant something."""


@dataclass(frozen=True, slots=True)
class Found:
    at: float
    family: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    at: float
    family: str
    device: str
    signals: tuple[Signal, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Failed:
    at: float
    family: str
    device: str
    why: str


@dataclass(frozen=True, slots=True)
class Named:
    """By what names a log speaks of the devices, all of them."""

    at: float
    family: str
    names: tuple[tuple[str, tuple[Subject, ...]], ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """A line of a log, with all pieces that came before it. `age`: seconds since it was written. `keys`, `goes_on`, `caller`: as in
    kernellog.Record."""

    at: float
    family: str
    text: str
    keys: tuple[tuple[str, str], ...] = ()
    age: float = 0.0
    goes_on: bool = False
    caller: str = ""

    @property
    def line(self) -> kernellog.Record:
        """As a Reader takes it."""
        return kernellog.Record(0, kernellog.FROM_KERNEL, 0.0, self.text, dict(self.keys), self.goes_on, self.caller)


Record = Found | Taken | Failed | Named | Heard


class Writing:
    """Makes lines of records; remembers what each device read before."""

    def __init__(self, version: str) -> None:
        self._began: float | None = None
        self._before: dict[tuple[str, str], tuple[Signal, ...]] = {}
        self.head = json.dumps({"podvitals": "recording", "format": FORMAT, "version": version})

    def line(self, record: Record) -> str:
        self._began = record.at if self._began is None else self._began
        document: dict[str, Any] = {"at": round(record.at - self._began, 3), "family": record.family}
        match record:
            case Found(devices=devices):
                document["found"] = [_device_document(device) for device in devices]
            case Taken(device=device, signals=signals, whole=True):
                document["device"] = device
                if self._before.get((record.family, device)) == signals:
                    document["same"] = True
                else:
                    self._before[record.family, device] = signals
                    document["read"] = [signal_document(signal) for signal in signals]
            case Taken(device=device, signals=signals):
                document |= {"device": device, "told": [signal_document(signal) for signal in signals]}
            case Failed(device=device, why=why):
                document |= {"device": device, "failed": why}
            case Named(names=names):
                document["names"] = [{"device": device, "as": list(map(list, subjects))} for device, subjects in names]
            case Heard():
                more = {"keys": dict(record.keys), "age": record.age, "goes_on": record.goes_on, "caller": record.caller}
                document |= {"line": record.text} | {name: value for name, value in more.items() if value}
        return json.dumps(document, ensure_ascii=False)


def read_recording(lines: Iterable[str], name: str) -> Iterator[Record]:
    """The records of a file, whose lines end in newlines: a last one that does not was cut (a disk that was full, a copy made meanwhile),
    and is left out. Raises InvalidInput with the line that is none."""
    before: dict[tuple[str, str], tuple[Signal, ...]] = {}
    source = iter(lines)
    if wrong := _wrong_head(next(source, "")):
        raise InvalidInput(f"{name} is no recording: {wrong}")
    for number, line in enumerate(source, 2):
        try:
            record = _record(json.loads(line), before)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidInput) as error:
            if not line.endswith("\n"):
                return
            why = f"{error}" if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
            raise InvalidInput(f"{name}:{number}: this is no line of a recording ({why[:120]})") from None
        if record is not None:
            yield record


def _wrong_head(line: str) -> str:
    if not line.strip():
        return "it is empty"
    with suppress(ValueError):
        document = json.loads(line)
        if isinstance(document, dict) and document.get("podvitals") == "recording":
            found = document.get("format")
            return "" if found in FORMATS else f"its format is {found}, this podvitals reads {FORMATS[0]} to {FORMATS[-1]}"
    return "its first line does not say that it is one"


def _record(document: Mapping[str, Any], before: dict[tuple[str, str], tuple[Signal, ...]]) -> Record | None:
    at, family = float(document["at"]), str(document["family"])
    if not math.isfinite(at):
        raise ValueError(f"at {at} is no time")
    if "found" in document:
        return Found(at, family, tuple(map(_device, document["found"])))
    if "names" in document:
        return Named(at, family, tuple(map(_names, document["names"])))
    if "line" in document:
        keys = tuple((str(key), str(value)) for key, value in document.get("keys", {}).items())
        age, goes_on = float(document.get("age", 0.0)), bool(document.get("goes_on", False))
        return Heard(at, family, str(document["line"]), keys, age, goes_on, str(document.get("caller", "")))
    device = check_device_name(document["device"])
    if "failed" in document:
        return Failed(at, family, device, str(document["failed"]))
    if "told" in document:
        return Taken(at, family, device, tuple(map(signal_of, document["told"])), whole=False)
    if document.get("same"):
        return Taken(at, family, device, before[family, device], whole=True)
    if "read" in document:
        before[family, device] = tuple(map(signal_of, document["read"]))
        return Taken(at, family, device, before[family, device], whole=True)
    return None


def _names(document: Mapping[str, Any]) -> tuple[str, tuple[Subject, ...]]:
    return check_device_name(document["device"]), tuple((str(kind), str(name)) for kind, name in document["as"])


def _device_document(device: Device) -> dict[str, Any]:
    attributes = {name: {"version": str(value)} if isinstance(value, Version) else value for name, value in device.attributes.items()}
    return {"name": device.name, "attributes": attributes, "handle": device.handle}


def _device(document: Mapping[str, Any]) -> Device:
    attributes = {
        str(name): Version(value["version"]) if isinstance(value, dict) else value for name, value in document["attributes"].items()
    }
    return Device(check_device_name(document["name"]), attributes, handle=str(document["handle"]))


def signal_document(signal: Signal) -> dict[str, Any]:
    match signal:
        case Code(table=table, code=code):
            document: dict[str, Any] = {"code": code, "table": table, "params": dict(signal.params), "text": signal.text, "age": signal.age}
        case Count(name=name, value=count):
            document = {"count": name, "value": count, "part": signal.part}
        case State(name=name, value=state):
            document = {"state": name, "value": state, "part": signal.part, "text": signal.text}
        case Level(name=name, value=level):
            document = {"level": name, "value": level, "part": signal.part}
        case Unread(name=name, why=why):
            document = {"unread": name, "why": why, "part": signal.part}
    return {key: value for key, value in document.items() if value or key not in ("params", "text", "age", "part")}


def signal_of(document: Mapping[str, Any]) -> Signal:
    part = str(document.get("part", ""))
    if "code" in document:
        params = tuple((str(name), str(value)) for name, value in document.get("params", {}).items())
        text, age = str(document.get("text", "")), float(document.get("age", 0.0))
        return Code(str(document["table"]), str(document["code"]), text, params, age)
    if "count" in document:
        return Count(str(document["count"]), int(document["value"]), part)
    if "state" in document:
        return State(str(document["state"]), str(document["value"]), part, str(document.get("text", "")))
    if "level" in document:
        return Level(str(document["level"]), float(document["value"]), part)
    return Unread(str(document["unread"]), str(document["why"]), part)
