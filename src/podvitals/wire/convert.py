"""Dataclasses to protobuf bytes and back. What the other side said wrongly is put right or refused here, an entry at a time.

Rules for a health report: an entry without device, or with a name Kubernetes would refuse, is refused; a health value nobody knows is
Unknown; of two entries for one device the worst stays (whatever the order, so that identical reports mean the same); text that is not
UTF-8 is repaired; messages are made safe to store and print. None of these costs another entry anything.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice

from google.protobuf.message import DecodeError, Message

from podvitals.device.health import Health
from podvitals.device.key import check_device_name, check_pool_name
from podvitals.device.text import LONGEST_MESSAGE, clean
from podvitals.errors import InvalidInput, PluginProtocolError
from podvitals.wire.generated import dra_pb2, health_pb2, registration_pb2
from podvitals.wire.messages import REPORT_LIMIT, ClaimRef, DeviceReport, PluginInfo, PreparedDevice, PrepareResult, Report

_HEALTH_OF: dict[int, Health] = {0: Health.UNKNOWN, 1: Health.HEALTHY, 2: Health.UNHEALTHY}
_NUMBER_OF = {health: number for number, health in _HEALTH_OF.items()}
_LAST_TIME = 253402300799  # 9999-12-31T23:59:59Z, the last a Kubernetes timestamp can say
_LARGEST_INT64 = 2**63 - 1
_LONGEST_ACTION = 128
_LONGEST_NAME = 300  # more than any name may have; what is cut to it is refused, and quoted in the refusal
_MOST_REFUSALS = 20
MOST_DEVICES = 65536
"""Entries read of one report: 4 MiB could hold two million empty ones, seconds of work for the event loop."""
_MOST_VERSIONS = 64


# --- health ---------------------------------------------------------------------------------------------------------------------


def decode_report(raw: bytes, most_devices: int = MOST_DEVICES) -> Report:
    """The report in `raw`, at most `most_devices` entries of it. Raises PluginProtocolError only where `raw` is no protobuf at all."""
    response = health_pb2.NodeWatchResourcesResponse()
    try:
        response.ParseFromString(raw)
    except DecodeError as error:
        raise PluginProtocolError(f"a health report of {len(raw)} bytes is not a NodeWatchResourcesResponse: {error}") from None
    devices: dict[tuple[str, str], DeviceReport] = {}
    refusals = Refusals()
    for entry in islice(response.devices, most_devices):
        if (said := device_report(entry, refusals)) is not None:
            keep_worst(devices, said, refusals)
    if len(response.devices) > most_devices:
        refusals.cut(most_devices)
    return Report(tuple(devices.values()), refusals.texts(), refusals.count)


class Refusals:
    """Sentences about entries that were not taken as they stood; the first are kept, the rest counted."""

    __slots__ = ("_texts", "count")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= _MOST_REFUSALS:
            self._texts.append(text)

    def cut(self, most: int) -> None:
        """Said first: it is the most important."""
        self.count += 1
        self._texts.insert(0, f"a report of more than {most} entries: only the first {most} are read")

    def texts(self) -> tuple[str, ...]:
        more = self.count - len(self._texts)
        return (*self._texts, f"and {more} more entries") if more else tuple(self._texts)


def keep_worst(devices: dict[tuple[str, str], DeviceReport], said: DeviceReport, refusals: Refusals) -> None:
    known = devices.setdefault((said.pool, said.device), said)
    if known is not said:
        refusals.add(f"device {said.pool}/{said.device} is named more than once in one report: the worst is taken")
        if said.health.badness > known.health.badness:
            devices[said.pool, said.device] = said


def device_report(entry: health_pb2.DeviceHealth, refusals: Refusals) -> DeviceReport | None:
    """None where it names no device."""
    identifier = entry.device
    pool, device, wrong = names(identifier.pool_name, identifier.device_name)
    if wrong:
        refusals.add(wrong)
        return None
    number = entry.health
    health, (lease, message, action) = _HEALTH_OF.get(number), details(entry)
    if health is None:
        refusals.add(
            f"device {pool}/{device} has health {number}, which is none of 0, 1 and 2 (unknown, healthy, unhealthy): taken as unknown"
        )
        health, message = Health.UNKNOWN, message or f"the driver reported health {number}, which does not exist"
    return DeviceReport(pool, device, health, taken_time(entry.last_updated_time), lease, message, action)


def details(entry: health_pb2.DeviceHealth) -> tuple[float, str, str]:
    """Lease, message, action."""
    message, action = entry.message, entry.action
    return (
        float(entry.health_check_timeout_seconds),
        _message(message) if message else "",
        clean(_text(action), _LONGEST_ACTION) if action else "",
    )


def taken_time(seconds: int) -> float:
    """`checked_at` of a time on the wire."""
    return float(seconds) if 0 < seconds <= _LAST_TIME else 0.0


@lru_cache(maxsize=1024)
def names(pool: bytes, device: bytes) -> tuple[str, str, str]:
    """Pool and device as text, and why they cannot be those of a ResourceSlice, "" if they can.

    Cached, because a driver names the same thousands of devices every few seconds."""
    said = _text(pool[:_LONGEST_NAME]), _text(device[:_LONGEST_NAME])
    if not pool and not device:
        return *said, "an entry names no device"
    try:
        check_pool_name(said[0])
        check_device_name(said[1])
    except InvalidInput as error:
        return *said, clean(str(error))
    return *said, ""


def _message(raw: bytes) -> str:
    # What is longer is cut anyway; kept out of the cache, so that its size is bounded.
    return _short_message(raw) if len(raw) <= LONGEST_MESSAGE else clean(_text(raw[: 4 * LONGEST_MESSAGE]))


@lru_cache(maxsize=2048)
def _short_message(raw: bytes) -> str:
    return clean(_text(raw))


def encode_report(devices: Iterable[DeviceReport]) -> list[bytes]:
    """The devices, in their order, as messages of at most REPORT_LIMIT bytes each. No devices: one empty message.

    Messages are cleaned and cut to what a kubelet keeps; a lease is rounded up to whole seconds."""
    reports: list[bytes] = []
    current = health_pb2.NodeWatchResourcesResponse()
    size = 0
    for device in devices:
        entry = _encode_device(device)
        # Tag and length of an entry take at most 1 + 4 bytes below 256 MiB.
        entry_size = entry.ByteSize() + 5
        if size and size + entry_size > REPORT_LIMIT:
            reports.append(current.SerializeToString())
            current, size = health_pb2.NodeWatchResourcesResponse(), 0
        current.devices.append(entry)
        size += entry_size
    return [*reports, current.SerializeToString()]


def _encode_device(device: DeviceReport) -> health_pb2.DeviceHealth:
    entry = health_pb2.DeviceHealth()
    entry.device.pool_name, entry.device.device_name = _bytes(device.pool), _bytes(device.device)
    entry.health = _NUMBER_OF[device.health]  # type: ignore[assignment]  # an enum is an int at run time
    entry.last_updated_time = max(0, min(int(device.checked_at), _LAST_TIME))
    entry.health_check_timeout_seconds = min(math.ceil(device.lease), _LARGEST_INT64) if device.lease > 0 else 0
    entry.message = _bytes(clean(device.message))
    entry.action = _bytes(clean(device.action, _LONGEST_ACTION))
    return entry


# --- registration ---------------------------------------------------------------------------------------------------------------


def encode_info(info: PluginInfo) -> bytes:
    return registration_pb2.PluginInfo(
        type=_bytes(info.type),
        name=_bytes(info.name),
        endpoint=_bytes(info.endpoint),
        supported_versions=map(_bytes, info.supported_versions),
    ).SerializeToString()


def decode_info(raw: bytes) -> PluginInfo:
    info = registration_pb2.PluginInfo()
    _parse(info, raw)
    # The endpoint stays as it is: it is a path, and a path made printable is another path.
    return PluginInfo(
        clean(_text(info.type)),
        clean(_text(info.name)),
        _text(info.endpoint),
        tuple(clean(_text(v)) for v in islice(info.supported_versions, _MOST_VERSIONS)),
    )


def encode_status(registered: bool, error: str) -> bytes:
    return registration_pb2.RegistrationStatus(plugin_registered=registered, error=_bytes(error)).SerializeToString()


def decode_status(raw: bytes) -> tuple[bool, str]:
    status = registration_pb2.RegistrationStatus()
    _parse(status, raw)
    return status.plugin_registered, clean(_text(status.error))


# --- prepare and unprepare ------------------------------------------------------------------------------------------------------


def encode_claims(claims: Sequence[ClaimRef]) -> bytes:
    """The request of both calls: their messages are the same."""
    request = dra_pb2.NodePrepareResourcesRequest()
    for claim in claims:
        request.claims.add(namespace=_bytes(claim.namespace), uid=_bytes(claim.uid), name=_bytes(claim.name))
    return request.SerializeToString()


def decode_claims(raw: bytes) -> list[ClaimRef]:
    request = dra_pb2.NodePrepareResourcesRequest()
    _parse(request, raw)
    return [ClaimRef(_text(claim.namespace), _text(claim.uid), _text(claim.name)) for claim in request.claims]


def encode_prepared(results: Mapping[str, PrepareResult]) -> bytes:
    response = dra_pb2.NodePrepareResourcesResponse()
    for uid, result in sorted(results.items()):
        answer = response.claims.add(uid=_bytes(uid)).response
        answer.error = _bytes(result.error)
        for device in result.devices:
            answer.devices.add(
                request_names=map(_bytes, device.request_names),
                pool_name=_bytes(device.pool_name),
                device_name=_bytes(device.device_name),
                cdi_device_ids=map(_bytes, device.cdi_device_ids),
                share_id=None if device.share_id is None else _bytes(device.share_id),
            )
    return response.SerializeToString()


def decode_prepared(raw: bytes) -> dict[str, PrepareResult]:
    response = dra_pb2.NodePrepareResourcesResponse()
    _parse(response, raw)
    return {
        _text(entry.uid): PrepareResult(tuple(_prepared(device) for device in entry.response.devices), clean(_text(entry.response.error)))
        for entry in response.claims
    }


def _prepared(device: dra_pb2.Device) -> PreparedDevice:
    return PreparedDevice(
        request_names=tuple(map(_text, device.request_names)),
        pool_name=_text(device.pool_name),
        device_name=_text(device.device_name),
        cdi_device_ids=tuple(map(_text, device.cdi_device_ids)),
        share_id=_text(device.share_id) if device.HasField("share_id") else None,
    )


def encode_unprepared(errors: Mapping[str, str]) -> bytes:
    response = dra_pb2.NodeUnprepareResourcesResponse()
    for uid, error in sorted(errors.items()):
        answer = response.claims.add(uid=_bytes(uid)).response
        answer.error = _bytes(error)
    return response.SerializeToString()


def decode_unprepared(raw: bytes) -> dict[str, str]:
    response = dra_pb2.NodeUnprepareResourcesResponse()
    _parse(response, raw)
    return {_text(entry.uid): clean(_text(entry.response.error)) for entry in response.claims}


# --- text -----------------------------------------------------------------------------------------------------------------------


def _parse(message: Message, raw: bytes) -> None:
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise PluginProtocolError(f"{len(raw)} bytes are not a {type(message).__name__}: {error}") from None


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
