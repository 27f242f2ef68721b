"""What a network driver tells by ethtool's ioctl: how fast the port can be, and the errors it counts.

Kernel interface: include/uapi/linux/ethtool.h (ETHTOOL_GLINKSETTINGS, ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS, ETHTOOL_GSTATS), sockios.h.
"""

import array
import errno
import fcntl
import re
import socket
import struct
from collections.abc import Sequence

SIOCETHTOOL = 0x8946
GSTRINGS, GSTATS, GSSET_INFO, GLINKSETTINGS = 0x1B, 0x1D, 0x37, 0x4C
SS_STATS = 1
NAME_LENGTH = 32
MOST_STATISTICS = 4096
"""A big adapter counts 30 things for each of 64 queues; what claims to be more is cut."""
MOST_ERRORS = 64
_HEADER = struct.Struct("=IIBBBBBBBbBBBB28x")
_SPEEDS: tuple[tuple[int, Sequence[int]], ...] = (
    (10, (0, 1, 92)),
    (100, (2, 3, 67, 90, 91)),
    (1000, (4, 5, 17, 41, 68)),
    (2500, (15, 47)),
    (5000, (48,)),
    (10000, (12, 18, 19, 20, *range(42, 47))),
    (20000, (21, 22)),
    (25000, range(31, 34)),
    (40000, range(23, 27)),
    (50000, (34, 35, 40, *range(52, 57))),
    (56000, range(27, 31)),
    (100000, (*range(36, 40), *range(57, 62), *range(75, 80))),
    (200000, (*range(62, 67), *range(80, 85))),
    (400000, (*range(69, 74), *range(85, 90))),
    (800000, range(93, 99)),
)
"""Mbit/s, and the bits of the link modes that run at them (ETHTOOL_LINK_MODE_*_BIT)."""
_NOT_THERE = (errno.EOPNOTSUPP, errno.ENOTTY)
# Of the port and its cable, by the names drivers give them; not of the program above (full buffers, wrong addresses).
_ERRORS = re.compile(
    r".*(crc|symbol|fcs_err|align|phy.*(err|discard)|(err|discard).*phy|fec_uncorr|uncorrectable|link_down|jabber).*", re.IGNORECASE
)
_OF_A_QUEUE = re.compile(r".*(queue|ring|ch|tx|rx)[_-]?\d+.*|.*\[\d+\].*", re.IGNORECASE)


def fastest(modes: int) -> int:
    """Mbit/s of the fastest link mode in a mask; 0 for none that is known."""
    return max((speed for speed, bits in _SPEEDS if any(modes >> bit & 1 for bit in bits)), default=0)


def best_of(masks: Sequence[int]) -> int:
    """Mbit/s of the fastest mode that both ends can do, from three masks in a row (supported, advertised, of the other end), of words of 32
    bits. The other end's is empty where it tells nothing."""
    words = len(masks) // 3
    supported, _, other_end = (sum(mask << 32 * at for at, mask in enumerate(masks[which * words :][:words])) for which in range(3))
    return fastest(supported & other_end) or fastest(supported)


def best_speed(interface: str) -> int:
    """Mbit/s that the port, and the other end where it tells, can both do; 0 where the driver does not say. Raises OSError."""
    settings = array.array("B", _HEADER.pack(GLINKSETTINGS, *([0] * 13)))
    if not _ask(interface, settings):
        return 0
    words = -_HEADER.unpack(settings)[9]  # the kernel's way to say how many words a mask has
    if not 0 < words <= 32:
        return 0
    header = list(_HEADER.unpack(settings))
    header[0], header[9] = GLINKSETTINGS, words
    settings = array.array("B", _HEADER.pack(*header) + bytes(3 * 4 * words))
    if not _ask(interface, settings):
        return 0
    return best_of(struct.unpack_from(f"={3 * words}I", settings, _HEADER.size))


def errors(interface: str) -> dict[str, int]:
    """The driver's own counters of errors on the wire, by its names for them; none where it has none. Raises OSError."""
    size = array.array("B", struct.pack("=IIQI", GSSET_INFO, 0, 1 << SS_STATS, 0))
    if not _ask(interface, size):
        return {}
    _, _, found, count = struct.unpack("=IIQI", size)
    if not found or not 0 < count <= MOST_STATISTICS:
        return {}
    names = array.array("B", struct.pack("=III", GSTRINGS, SS_STATS, count) + bytes(NAME_LENGTH * count))
    values = array.array("B", struct.pack("=II", GSTATS, count) + bytes(8 * count))
    if not (_ask(interface, names) and _ask(interface, values)):
        return {}
    words = [names[12 + NAME_LENGTH * at :][:NAME_LENGTH].tobytes().split(b"\0")[0].decode(errors="replace") for at in range(count)]
    numbers = struct.unpack_from(f"={count}Q", values, 8)
    wanted = [(name, value) for name, value in zip(words, numbers, strict=True) if is_error(name)]
    return dict(wanted[:MOST_ERRORS])


def is_error(name: str) -> bool:
    """Whether a statistic counts errors on the wire, of the port as a whole."""
    return _ERRORS.fullmatch(name) is not None and _OF_A_QUEUE.fullmatch(name) is None


def _ask(interface: str, buffer: "array.array[int]") -> bool:
    """Whether the driver answered; False where it has no answer to that."""
    address, _ = buffer.buffer_info()
    request = struct.pack("=16sQ", interface.encode()[:15], address) + bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as opened:
        try:
            fcntl.ioctl(opened, SIOCETHTOOL, request)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise
    return True
