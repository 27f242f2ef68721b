"""The annotation `podvitals.dev/devices`: what the agent knows of each device of a pod, as JSON that any reader can take apart.

Rules kept: identical states are identical bytes (sorted entries, no build times), at most 64 KiB with the worst devices first and the rest
counted, times are RFC 3339 in UTC, and a reader of this version understands an annotation of a later one.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.errors import InvalidInput

ANNOTATION = "podvitals.dev/devices"
CONDITION = "podvitals.dev/DevicesHealthy"
ANNOTATION_LIMIT = 64 * 1024
"""Bytes. All annotations of a pod together may have 256 KiB (CONTRACT §4); beyond that the condition in the same patch is lost too."""
_SHORTER_MESSAGES = (1024, 256, 64)
"""Bytes a message may have: the first with which every device that is not healthy fits the limit."""


def moment(unix: float) -> datetime:
    """Unix seconds as a UTC time, to the millisecond; times outside the calendar become its nearest end."""
    try:
        return datetime.fromtimestamp(round(unix, 3), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.min.replace(tzinfo=UTC) if not unix > 0 else datetime.max.replace(microsecond=999000, tzinfo=UTC)


class FaultEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One episode in which the device was not healthy; `until` is None while it lasts. `after_end`: found after the pod had ended."""

    health: Health
    message: str = ""
    action: str = ""
    start: datetime | None = msgspec.field(name="from", default=None)
    until: datetime | None = msgspec.field(name="to", default=None)
    after_end: bool = msgspec.field(name="afterEnd", default=False)


class DeviceEntry(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One device as one container holds it. `claim` is the pod's name for the claim ("" for an extended resource), `claim_name` the
    ResourceClaim's; `entry` is the name the kubelet's `allocatedResourcesStatus` gives it; `since` when `health` became what it is."""

    container: str
    driver: str
    pool: str
    device: str
    health: Health
    kind: str = "container"
    entry: str = ""
    claim: str = ""
    claim_name: str = ""
    request: str = ""
    admin: bool = False
    message: str = ""
    action: str = ""
    since: datetime | None = None
    faults: tuple[FaultEntry, ...] = ()

    @property
    def key(self) -> DeviceKey:
        return DeviceKey(self.driver, self.pool, self.device)

    @property
    def rank(self) -> tuple[int, bool, str, str, str, str, str, str]:
        """Sorts the worst first, then those with a fault on record, then by name: the order of the annotation."""
        place = (self.container, self.driver, self.pool, self.device, self.entry, self.request)
        return (-self.health.badness, not self.faults, *place)


class Omitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many entries did not fit, by health."""

    healthy: int = 0
    unknown: int = 0
    unhealthy: int = 0

    @property
    def total(self) -> int:
        return self.healthy + self.unknown + self.unhealthy


ALL_LISTED = Omitted()


class PodDevices(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the annotation says. `agent` is the version that wrote it; `ended` when the pod ended: the entries' health is as of then.
    `nudge`: how often the same was written again, because the kubelet's own field lagged behind."""

    node: str
    agent: str = ""
    entries: tuple[DeviceEntry, ...] = msgspec.field(name="devices", default=())
    omitted: Omitted = ALL_LISTED
    ended: datetime | None = None
    nudge: int = 0

    def encode(self) -> str:
        """The annotation's text: entries sorted, the last of them counted instead of listed where all do not fit in 64 KiB."""
        entries = sorted(self.entries, key=lambda entry: entry.rank)
        for limit in _SHORTER_MESSAGES:
            text, listed = self._fitted(entries, limit)
            if listed == len(entries) or entries[listed].health is Health.HEALTHY:
                break
        return text

    def _fitted(self, entries: list[DeviceEntry], message_limit: int) -> tuple[str, int]:
        # 128: more than the three counts and the commas of an `omitted` can take.
        room = ANNOTATION_LIMIT - 128 - len(_json.encode(msgspec.structs.replace(self, entries=(), omitted=self.omitted)))
        listed = 0
        for entry in entries:
            room -= len(_json.encode(_shortened(entry, message_limit))) + 1
            if room < 0:
                break
            listed += 1
        kept = tuple(_shortened(entry, message_limit) for entry in entries[:listed])
        omitted = _counted(self.omitted, entries[listed:])
        return _json.encode(msgspec.structs.replace(self, entries=kept, omitted=omitted)).decode(), listed


def _shortened(entry: DeviceEntry, limit: int) -> DeviceEntry:
    if len(entry.message) * 4 <= limit and all(len(fault.message) * 4 <= limit for fault in entry.faults):
        return entry
    faults = tuple(msgspec.structs.replace(fault, message=clean(fault.message, limit)) for fault in entry.faults)
    return msgspec.structs.replace(entry, message=clean(entry.message, limit), faults=faults)


def _counted(before: Omitted, entries: Iterable[DeviceEntry]) -> Omitted:
    counts = {Health.HEALTHY: before.healthy, Health.UNKNOWN: before.unknown, Health.UNHEALTHY: before.unhealthy}
    for entry in entries:
        counts[entry.health] += 1
    counted = Omitted(counts[Health.HEALTHY], counts[Health.UNKNOWN], counts[Health.UNHEALTHY])
    return counted if counted.total else ALL_LISTED  # msgspec leaves out a default that is the very same object


_json = msgspec.json.Encoder()
_reader = msgspec.json.Decoder(PodDevices)


def decode(text: str, pod: str = "") -> PodDevices:
    """What an annotation says; fields of later versions are passed over. InvalidInput, naming annotation and `pod`, for anything else."""
    try:
        return _reader.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        where = f"annotation {ANNOTATION}" + (f" of pod {pod}" if pod else "")
        raise InvalidInput(f"{where} is not what podvitals writes ({clean(str(error), 200)}): was it edited by hand?") from None
