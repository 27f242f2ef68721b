"""What each detector last said of each device, and the one verdict that follows. Pure: readings and `now` go in, changed names come out.

The rules: the worst of several detectors counts, all their messages are kept, the worst first. A reading is believed for its detector's
lease; then the device is Unknown, actively, whatever else happens. What is not a reading (a failure, a hang, the passing of time) never
renews anything.
"""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podvitals.detect.detector import ACTIONS, Device, Reading
from podvitals.detect.inventory import Listing, joined
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.device.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Source:
    """A detector, as the board knows it. `lease`: seconds its readings are believed."""

    name: str
    lease: float


@dataclass(frozen=True, slots=True)
class Word:
    """The last word of one source about one device. `reading` None: it owes its first one. `read_at`, `checked_at`: the last real reading
    in seconds since boot and in Unix seconds. `good_until`: when the word ends (seconds since boot)."""

    reading: Reading | None
    good_until: float
    read_at: float
    checked_at: float
    last: Reading | None = None


@dataclass(slots=True)
class Place:
    """One device: who lists it, who misses it, what they said, and the verdict made of it."""

    listed: dict[int, Device] = field(default_factory=dict)
    missing: dict[int, Word] = field(default_factory=dict)
    words: dict[int, Word] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    device: Device | None = None
    contradiction: str = ""
    verdict: Verdict | None = None


class Board:
    def __init__(self, driver: str, pool: str, sources: Iterable[Source]) -> None:
        self._driver, self._pool = driver, pool
        self._sources = tuple(sources)
        self._places: dict[str, Place] = {}
        self._ends: list[tuple[float, str, int]] = []
        self.inventory_version = 0
        """Grows whenever a device, or anything published about it, changed."""

    @property
    def devices(self) -> Mapping[str, Device]:
        """Every device that was ever listed, as it was listed last."""
        return {name: place.device for name, place in sorted(self._places.items()) if place.device is not None}

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """Of every device of which something is known; one that still owes its first reading is not among them."""
        return {name: place.verdict for name, place in sorted(self._places.items()) if place.verdict is not None}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the inventories, in a stable order."""
        found = [p for place in self._places.values() for p in (*place.problems.values(), place.contradiction) if p]
        return tuple(sorted(found))

    def verdict(self, name: str) -> Verdict | None:
        place = self._places.get(name)
        return place.verdict if place is not None else None

    def listed_by(self, source: int) -> tuple[Device, ...]:
        """What a source has to check: every device it ever listed, missing ones included, for they may be back."""
        return tuple(place.listed[source] for _, place in sorted(self._places.items()) if source in place.listed)

    def knows(self, name: str) -> bool:
        return name in self._places and self._places[name].device is not None

    def take(self, source: int, listing: Listing, now: float, wall: float) -> frozenset[str]:
        """A source told its whole inventory: what it listed before and does not now is missing, until it is back."""
        touched = set()
        for name, device in listing.devices.items():
            place = self._places.setdefault(name, Place())
            if place.missing.pop(source, None) is not None:
                touched.add(name)
            if place.listed.get(source) != device:
                place.listed[source] = device
                place.device, place.contradiction = joined((self._sources[s].name, d) for s, d in sorted(place.listed.items()))
                self.inventory_version += 1
                touched.add(name)
            if source not in place.words:
                self._set(name, source, Word(None, now + self._sources[source].lease, -math.inf, wall))
        for name, place in self._places.items():
            if place.problems.pop(source, None) is not None:
                touched.add(name)
            if source in place.listed and name not in listing.devices:
                gone = Reading.unhealthy(f"missing: {self._sources[source].name} listed this device before and does not find it now")
                place.missing[source] = Word(gone, now + self._sources[source].lease, now, wall)
                heapq.heappush(self._ends, (place.missing[source].good_until, name, source))
                touched.add(name)
        for name, problem in listing.problems.items():
            if self.knows(name):
                self._places[name].problems[source] = problem
                touched.add(name)
        return self._changed(touched)

    def read(self, source: int, name: str, reading: Reading, now: float, wall: float) -> frozenset[str]:
        """A real reading arrived."""
        self._set(name, source, Word(reading, now + self._sources[source].lease, now, wall))
        return self._changed((name,))

    def fail(self, source: int, name: str, why: str, still: Reading | None = None) -> frozenset[str]:
        """A reading was tried and failed: Unknown until a real one comes, and nothing is renewed. `still`: a fault that is known all the
        same, which stays; it says that reading failed, too."""
        self._doubt(name, source, why, still if still is not None and still.health is Health.UNHEALTHY else None)
        return self._changed((name,))

    def expire(self, now: float) -> frozenset[str]:
        """Words whose lease ended become Unknown."""
        touched = set()
        while self._ends and self._ends[0][0] <= now:
            _, name, source = heapq.heappop(self._ends)
            place, lease = self._places[name], self._sources[source].lease
            word, missing = place.words.get(source), place.missing.get(source)
            if word is not None and word.good_until <= now:
                who, verb = (
                    self._sources[source].name,
                    "has not read this device" if word.reading is None else "has not read this device again",
                )
                self._doubt(name, source, f"{who} {verb} within its lease of {lease:g} s")
                touched.add(name)
            if missing is not None and missing.good_until <= now:
                doubt = Reading.unknown(
                    f"missing at last: {self._sources[source].name} has not listed its devices within its lease of {lease:g} s"
                )
                place.missing[source] = Word(doubt, math.inf, missing.read_at, missing.checked_at)
                touched.add(name)
        return self._changed(touched)

    def next_deadline(self) -> float | None:
        """When expire() has something to do (never later than that; perhaps too early, for a word that was renewed meanwhile)."""
        while self._ends and not self._ends_now(*self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def _ends_now(self, end: float, name: str, source: int) -> bool:
        place = self._places[name]
        return any(word is not None and word.good_until == end for word in (place.words.get(source), place.missing.get(source)))

    def _set(self, name: str, source: int, word: Word) -> None:
        self._places[name].words[source] = word
        heapq.heappush(self._ends, (word.good_until, name, source))

    def _doubt(self, name: str, source: int, why: str, still: Reading | None = None) -> None:
        words = self._places[name].words
        word = words.get(source)
        # A doubt has no end; what was doubted before, and never read, is not what was last known.
        doubted = word is None or math.isinf(word.good_until)
        last = word.last if word is not None and doubted else word.reading if word is not None else None
        known = f" (last known: {last.health}{': ' if last.message else ''}{last.message})" if last is not None else ""
        read_at, checked_at = (word.read_at, word.checked_at) if word is not None else (-math.inf, 0.0)
        told = Reading.unknown(why + known) if still is None else Reading(still.health, still.message, still.action)
        words[source] = Word(told, math.inf, read_at, checked_at, last)

    def _changed(self, names: Iterable[str]) -> frozenset[str]:
        """Makes the verdicts of `names` anew; those whose meaning changed. A newer `checked_at` alone is no change."""
        changed = set()
        for name in names:
            place = self._places[name]
            before, place.verdict = place.verdict, self._judged(name, place)
            if _meaning(before) != _meaning(place.verdict):
                changed.add(name)
        return frozenset(changed)

    def _judged(self, name: str, place: Place) -> Verdict | None:
        said: list[tuple[int, Reading]] = []
        for source in sorted({*place.words, *place.missing}):
            word, missing = place.words.get(source), place.missing.get(source)
            # The detector's own word on a missing device is better than ours, as long as it finds a fault too.
            own_fault = word is not None and word.reading is not None and word.reading.health is Health.UNHEALTHY
            if missing is not None and missing.reading is not None and not own_fault:
                said.append((source, missing.reading))
            elif word is not None and word.reading is not None:
                said.append((source, word.reading))
        if not said:
            return None
        doubts = [Reading.unknown(text) for text in (*place.problems.values(), place.contradiction) if text]
        readings = sorted((*(reading for _, reading in said), *doubts), key=lambda reading: -reading.health.badness)
        asked = max((one for one in readings if one.action), key=lambda one: (one.health.badness, ACTIONS.index(one.action)), default=None)
        words = [word for word in (*place.words.values(), *place.missing.values()) if word.reading is not None]
        return Verdict(
            key=DeviceKey(self._driver, self._pool, name),
            health=readings[0].health,
            message=clean("; ".join(dict.fromkeys(reading.message for reading in readings if reading.message))),
            action=asked.action if asked is not None else "",
            checked_at=max(words, key=lambda word: word.read_at).checked_at,
            lease=min(self._sources[source].lease for source, _ in said),
        )


def _meaning(verdict: Verdict | None) -> tuple[Health, str, str] | None:
    return (verdict.health, verdict.message, verdict.action) if verdict is not None else None
