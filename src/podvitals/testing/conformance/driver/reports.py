"""What stands in the reports (CONTRACT §3): every entry of every report that was heard."""

import time
import unicodedata
from collections import Counter

from podvitals.device.key import check_device_name, check_pool_name
from podvitals.device.text import LONGEST_MESSAGE
from podvitals.device.verdict import LONGEST_LEASE
from podvitals.errors import InvalidInput
from podvitals.testing.conformance.case import Cases, Failed, Skipped, Warned
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.rawreport import UNHEALTHY, UNKNOWN, RawDevice
from podvitals.wire.messages import MESSAGE_LIMIT

CASES: Cases[DriverSubject] = Cases()

_FUTURE = 60.0
_OLDEST = 1_577_836_800
"""2020-01-01: no driver with health is older."""
_BUSY = 20.0


@CASES.case(
    "readable",
    "Each report is a NodeWatchResourcesResponse.",
    "CONTRACT §3",
    do="send the message of the .proto file, in both health versions the same",
)
async def readable(driver: DriverSubject) -> str:
    seen = await driver.observation()
    garbled = [why for watcher in seen.watchers for why in watcher.garbled]
    if garbled:
        raise Failed(garbled[0])
    return f"{sum(len(watcher.heard) for watcher in seen.watchers)} reports"


@CASES.case(
    "report-size",
    "The kubelet keeps Go's 4 MiB receive limit: a larger report ends the stream.",
    "CONTRACT §3",
    do="split the state over several reports: one may be a subset",
)
async def report_size(driver: DriverSubject) -> str:
    seen = await driver.observed()
    if refused := next((watcher.ended for watcher in seen.watchers if "larger than" in watcher.ended), ""):
        raise Failed(refused)
    largest = max((len(raw) for watcher in seen.watchers for _, raw in watcher.heard), default=0)
    if not largest:
        raise Skipped("no report was heard")
    if largest > MESSAGE_LIMIT // 2:
        raise Warned(f"{largest} bytes, more than half of the limit")
    return f"at most {largest} bytes"


@CASES.case(
    "device-names",
    "Pool and device name are both required, and are those of the ResourceSlices.",
    "CONTRACT §3",
    do="name each device as its ResourceSlice does: spec.pool.name and spec.devices[].name",
)
async def device_names(driver: DriverSubject) -> str:
    devices = await _devices(driver)
    for device in devices:
        if not device.pool or not device.device:
            raise Failed(f"an entry without {'pool' if device.device else 'device'} name ({device.name})")
        try:
            check_pool_name(device.pool.decode())
            check_device_name(device.device.decode())
        except (InvalidInput, UnicodeDecodeError) as error:
            raise Failed(str(error)) from None
    return f"{len({(device.pool, device.device) for device in devices})} devices"


@CASES.case(
    "device-once",
    "A report has one entry a device.",
    "CONTRACT §3",
    do="merge what is known of a device before it is sent: which of two entries counts is not laid down",
)
async def device_once(driver: DriverSubject) -> str:
    await _devices(driver)
    for watcher in (await driver.observation()).watchers:
        for _, report in watcher.reports:
            (name, count), *_ = Counter(device.name for device in report).most_common(1) or [("", 0)]
            if count > 1:
                raise Failed(f"{name} is named {count} times in one report")
    return "none is named twice"


@CASES.case(
    "health-values",
    "health is UNKNOWN 0, HEALTHY 1 or UNHEALTHY 2.",
    "CONTRACT §3",
    do="send one of the three",
)
async def health_values(driver: DriverSubject) -> str:
    devices = await _devices(driver)
    if bad := next((device for device in devices if not UNKNOWN <= device.health <= UNHEALTHY), None):
        raise Failed(f"{bad.name} has health {bad.health}")
    newest = {device.name: device.health for device in devices}
    count = Counter(newest.values())
    return f"{count[1]} healthy, {count[2]} unhealthy, {count[0]} unknown"


@CASES.case(
    "times",
    "last_updated_time is in Unix seconds, when the driver last determined it.",
    "CONTRACT §3",
    do="send seconds (not milliseconds) of when the device was read, not of when the message was built",
)
async def times(driver: DriverSubject) -> str:
    devices, now = await _devices(driver), time.time()
    for device in devices:
        if device.checked_at > now * 100:
            raise Failed(f"{device.name}: {device.checked_at} are milliseconds or less")
        if device.checked_at > now + _FUTURE:
            raise Failed(f"{device.name}: {device.checked_at - now:.0f} s in the future")
        if device.checked_at < 0:
            raise Failed(f"{device.name}: {device.checked_at}")
    if untold := [device for device in devices if device.checked_at == 0]:
        raise Warned(f"{untold[0].name}: absent, which says that the time is not known", "say when the device was read")
    oldest = min(devices, key=lambda device: device.checked_at)
    if oldest.checked_at < _OLDEST:
        raise Warned(f"{oldest.name} was last read {(now - oldest.checked_at) / 86400:.0f} days ago, it says")
    return f"read at most {max(0.0, now - oldest.checked_at):.0f} s ago"


@CASES.case(
    "leases",
    "health_check_timeout_seconds: absent means 30 s, negative is logged, a huge one overflows (24 h at most).",
    "CONTRACT §3",
    do="send a few times the interval at which the device is read",
)
async def leases(driver: DriverSubject) -> str:
    devices = await _devices(driver)
    for device in devices:
        if device.lease < 0:
            raise Failed(f"{device.name}: {device.lease} s")
        if device.lease > LONGEST_LEASE:
            raise Failed(f"{device.name}: {device.lease} s, longer than a day")
    if any(device.lease == 0 for device in devices):
        return "absent, so 30 s"
    low, high = min(device.lease for device in devices), max(device.lease for device in devices)
    return f"{low} s" if low == high else f"{low} to {high} s"


@CASES.case(
    "message-length",
    "The kubelet cuts a message at 1,024 bytes, even inside a character: cut it yourself, at a character.",
    "CONTRACT §3",
    do="cut at a character to at most 1,024 bytes",
)
async def message_length(driver: DriverSubject) -> str:
    longest = max(await _devices(driver), key=lambda device: len(device.message))
    if len(longest.message) > LONGEST_MESSAGE:
        raise Failed(f"the message of {longest.name} has {len(longest.message)} bytes")
    return f"at most {len(longest.message)} bytes"


@CASES.case(
    "message-utf8",
    "A message is a protobuf string: valid UTF-8.",
    "CONTRACT §3",
    do="repair what comes from hardware or other programs: one bad byte, and a kubelet loses the whole report and the stream",
)
async def message_utf8(driver: DriverSubject) -> str:
    for device in await _devices(driver):
        try:
            device.message.decode()
        except UnicodeDecodeError as error:
            raise Failed(f"the message of {device.name}: {error}") from None
    return "all are"


@CASES.case(
    "message-printable",
    "A message is for people: it ends up in a pod's status and on terminals.",
    "CONTRACT §4",
    do="escape control characters, and send one line",
)
async def message_printable(driver: DriverSubject) -> str:
    for device in await _devices(driver):
        for character in device.message.decode(errors="ignore"):
            if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
                raise Warned(f"the message of {device.name} holds U+{ord(character):04X}")
    return "no control characters"


@CASES.case(
    "message-timeless",
    "The same state is the same message: a message that changes with the time is a change of the pod each time.",
    "CONTRACT §5",
    do="keep times and counters out of messages; last_updated_time says when",
)
async def message_timeless(driver: DriverSubject) -> str:
    seen = await driver.observation()
    told: dict[tuple[str, int], set[bytes]] = {}
    await _devices(driver)
    for _, report in seen.first.reports:
        for device in report:
            told.setdefault((device.name, device.health), set()).add(device.message)
    for (name, _), messages in told.items():
        if len(messages) > 3:
            raise Warned(
                f"{name} had {len(messages)} messages in {seen.lasted:.0f} s with the same health, such as {sorted(messages)[0]!r}"
            )
    return "they stay as they are"


@CASES.case(
    "report-rate",
    "The pod worker takes one change a second: more reports than that change nothing.",
    "CONTRACT §5",
    do="send on change, and once in a while to renew the lease",
)
async def report_rate(driver: DriverSubject) -> str:
    seen = await driver.observation()
    rate = len(seen.first.heard) / max(seen.lasted, 1.0)
    if rate > _BUSY:
        raise Warned(f"{rate:.0f} reports a second to one watcher")
    return f"{rate:.1f} reports a second"


async def _devices(driver: DriverSubject) -> list[RawDevice]:
    devices = (await driver.observation()).all_devices()
    if not devices:
        raise Skipped("no report names a device")
    return devices
