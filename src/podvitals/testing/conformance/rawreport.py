"""A health report taken apart and put together by hand, byte for byte. Pure.

The wire's own converter repairs what the other side says wrongly; a judge must see it as it stands, and a scripted driver must be able to
say it wrongly. So this knows protobuf's wire format, the numbers of CONTRACT §3, and nothing of podvitals.wire.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63
UNKNOWN, HEALTHY, UNHEALTHY = 0, 1, 2
HEALTH_NAMES = {UNKNOWN: "Unknown", HEALTHY: "Healthy", UNHEALTHY: "Unhealthy"}


class Garbled(ValueError):
    """These bytes are no protobuf message."""


class RawDevice(NamedTuple):
    """One DeviceHealth. `pool` and `device` are None where the report has no DeviceIdentifier at all."""

    pool: bytes | None
    device: bytes | None
    health: int = UNKNOWN
    checked_at: int = 0
    lease: int = 0
    message: bytes = b""

    @property
    def name(self) -> str:
        return f"{(self.pool or b'').decode(errors='replace')}/{(self.device or b'').decode(errors='replace')}"


def read_report(raw: bytes) -> tuple[RawDevice, ...]:
    """The devices of a NodeWatchResourcesResponse. Raises Garbled."""
    return tuple(_device(_bytes(value)) for number, value in fields(raw) if number == 1)


def write_report(devices: Iterable[RawDevice]) -> bytes:
    return b"".join(_written(1, _encoded(device)) for device in devices)


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in the order they stand: int of a varint or fixed number, bytes of everything else. Raises Garbled."""
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Garbled("field number 0")
        match kind:
            case 0:
                value, at = _read_varint(raw, at)
                yield number, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _read_varint(raw, at)
            case 5:
                size = 4
            case _:
                raise Garbled(f"wire type {kind}")
        if at + size > len(raw):
            raise Garbled(f"field {number} is longer than its message")
        yield number, raw[at : at + size] if kind == _BYTES else int.from_bytes(raw[at : at + size], "little")
        at += size


def texts(raw: bytes) -> dict[int, list[bytes]]:
    """The length-delimited fields of a message, by number. Raises Garbled."""
    found: dict[int, list[bytes]] = {}
    for number, value in fields(raw):
        if isinstance(value, bytes):
            found.setdefault(number, []).append(value)
    return found


def _device(raw: bytes) -> RawDevice:
    pool = device = None
    health = checked_at = lease = 0
    message = b""
    for number, value in fields(raw):
        match number:
            case 1:
                named = texts(_bytes(value))
                pool, device = named.get(1, [b""])[-1], named.get(2, [b""])[-1]
            case 2:
                health = _signed(value)
            case 3:
                checked_at = _signed(value)
            case 4:
                lease = _signed(value)
            case 5:
                message = _bytes(value)
    return RawDevice(pool, device, health, checked_at, lease, message)


def _encoded(device: RawDevice) -> bytes:
    parts = []
    if device.pool is not None or device.device is not None:
        parts.append(_written(1, _written(1, device.pool or b"") + _written(2, device.device or b"")))
    for number, value in ((2, device.health), (3, device.checked_at), (4, device.lease)):
        if value:
            parts.append(_varint(number << 3 | _VARINT) + _varint(value & (2 * _SIGN - 1)))
    if device.message:
        parts.append(_written(5, device.message))
    return b"".join(parts)


def _written(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise Garbled("a number that does not end")
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise Garbled("bytes where a number belongs")
    return value - 2 * _SIGN if value >= _SIGN else value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Garbled("a number where bytes belong")
    return value
