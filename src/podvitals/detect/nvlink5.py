"""What an NVLink 5 error (Xid 144 to 150) asks for. The number says only which unit failed; what to do stands in the two words with which
the line of the kernel log ends. Pure.

    NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 ...)
                                     part            severity           link  first word  second word

Source: NVIDIA's Xid catalogue, its table for 144 to 150: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html

The first word names the part that failed: drivers before R575 in bits 9-5 (and the unit, Xid less 143, in bits 4-0; 150 has none), later
ones in bits 6-0. No value is a part in both ways (a test tries them all), so nobody has to know the driver's version. The second word says
what happened; for a link that went down bits 25-20 of the first one do.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

RESET, RESTART, LOOK, NOTHING = "reset", "restart", "look", "nothing"
"""What is asked for: reset the GPU (RESET_GPU) · what Xid 154 says, where it says nothing a restart of the program (XID_154_EVAL) · that
somebody finds out why (IGNORE, with an investigation) · nothing (IGNORE)."""
XIDS = ("144", "145", "146", "147", "148", "149", "150")
_LINE = re.compile(
    r"(?P<unit>[A-Z]\w*(?:[ /]\w+)*?) +(?P<severity>Fatal|Non-?fatal) +XC ?\d+ +i ?\d+(?: +Link +(?P<link>\d+))?"
    r"(?: +[(\[](?P<info>0x[0-9a-fA-F]{1,8})(?: (?P<status>0x[0-9a-fA-F]{1,8})))?"
)
_CABLES = "the link's cables, temperature and seating"
_SIGNAL = "the link's signal quality"
_SOFTWARE = "who or what took the link down"
_PEER = "the device at the link's other end"
_HOST = "what else the host logged"
_WHY_DOWN = {
    **dict.fromkeys((0x02, 0x04, 0x0A), _SIGNAL),
    **dict.fromkeys((0x0F, 0x11, 0x16, 0x26), _SOFTWARE),
    **dict.fromkeys((0x10, 0x12), f"{_SOFTWARE}, and {_SIGNAL}"),
    **dict.fromkeys((0x15, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25), _PEER),
    **dict.fromkeys((0x2A, 0x2B), _CABLES),
    **dict.fromkeys((0x00, 0x01), ""),
    0x28: _HOST,
}
"""By the reason why a link went down: where to look."""


@dataclass(frozen=True, slots=True)
class Part:
    """`v1`, `v2`: its number before and since R575. `asks`: what each second word asks for; `bits`: its words are bits, of which several
    may be set. `promoted`: words that ask for a reset where the bit above the part's number is set. `down`: by the reason in the
    first word; `look`: where somebody should look."""

    xid: str
    v1: int
    v2: int
    asks: Mapping[int, str] = field(default_factory=dict)
    bits: bool = True
    promoted: frozenset[int] = frozenset()
    down: Mapping[int, str] = field(default_factory=dict)
    look: str = ""

    @property
    def first(self) -> int:
        """What bits 9-0 of the first word are before R575."""
        return self.v1 << 5 | (0 if self.xid == "150" else int(self.xid) - 143)


def _words(
    *, reset: Iterable[int] = (), restart: Iterable[int] = (), look: Iterable[int] = (), nothing: Iterable[int] = ()
) -> dict[int, str]:
    return {word: asks for asks, words in ((RESET, reset), (RESTART, restart), (LOOK, look), (NOTHING, nothing)) for word in words}


_SW = 0x80000000
_PIPE = _words(reset=[0x4], look=[0x2, _SW], nothing=[0x1])
PARTS = (
    Part("144", 1, 1, _words(reset=[0x2, 0x10], look=[0x1, 0x8], nothing=[0x4, 0x20])),  # SAW_MVB
    Part("145", 3, 3, _words(look=[_SW])),  # RLW_CTRL
    Part(
        "145", 4, 4, _words(reset=[0x40, 0x80], restart=[0x1, 0x2, 0x4, 0x8, 0x10, 0x20], look=[_SW], nothing=[0x100, 0x200])
    ),  # RLW_REMAP
    Part("145", 5, 5, _words(reset=[0x2], look=[_SW], nothing=[0x1])),  # RLW_RSPCOL
    Part("145", 6, 6, _words(look=[0x1, 0x2, 0x4, 0x8, _SW]), promoted=frozenset([0x1, 0x2, 0x4])),  # RLW_RXPIPE
    Part("145", 7, 7, _words(reset=[0x1, 0x10, 0x20], restart=[0x4, 0x8], look=[_SW], nothing=[0x2])),  # RLW_SRC_TRACK
    Part("145", 8, 8, _words(reset=[0x2, 0x20000, 0x100000], look=[_SW], nothing=[0x1, 0x10000])),  # RLW_TAGSTATE
    Part("146", 9, 9, _PIPE),  # TLW_CTRL
    Part("146", 10, 10, _PIPE),  # TLW_RX, TLW_RX_PIPE0
    Part("146", 10, 11, _PIPE),  # TLW_RX, TLW_RX_PIPE1
    Part("146", 11, 12, _PIPE),  # TLW_TX, TLW_TX_PIPE0
    Part("146", 11, 13, _PIPE),  # TLW_TX, TLW_TX_PIPE1
    Part("147", 12, 14, _words(look=[0x1, _SW])),  # TREX
    Part("148", 0, 15, _words(look=[_SW])),  # NVLPW_CTRL, NVLPW
    Part("149", 0, 24, down={0x00: RESET}),  # NETIR, NETIR_INT
    Part("149", 14, 17, down={**dict.fromkeys(_WHY_DOWN, RESET), 0x26: LOOK, 0x28: LOOK}),  # NETIR_LINK_EVT, NETIR_LINK_DOWN
    Part("149", 17, 19, _words(look=[0x0, 0x1, 0x2, 0x3]), bits=False, look=_CABLES),  # NETIR_BER_EVENT
    Part("149", 18, 20, _words(reset=[0x1, 0x4, 0x5, 0x7], nothing=[0x3]), bits=False),  # NETIR_MFDE_EVENT
    Part("150", 0, 0, _words(reset=[0x0, 0xFFFFFFFF]), bits=False),  # MSE Degraded, MSE_WATCHDOG
)


def told(xid: str, what: str) -> dict[str, str]:
    """What such a line says, as params of its code: unit, severity, link, status, and, where the catalogue knows its pattern, `asks` and
    `look`. For other Xids, and lines of another form, nothing."""
    if xid not in XIDS or (found := _LINE.match(what)) is None:
        return {}
    said = {name: text for name, text in found.groupdict().items() if text and name != "info"}
    if found["status"]:
        said |= asked(xid, int(found["info"], 16), int(found["status"], 16))
    return said


def asked(xid: str, info: int, status: int) -> dict[str, str]:
    """What the two words ask for, and where to look; empty where the catalogue has no such pattern."""
    for part in PARTS:
        if part.xid == xid and (info & 0x3FF == part.first or info & 0x7F == part.v2):
            reason = info >> 20 & 0x3F
            if part.down:
                found, look = part.down.get(reason, ""), _WHY_DOWN.get(reason, "")
            elif reason:
                return {}
            else:
                promoted = bool(info & (0x400 if info & 0x3FF == part.first else 0x80))
                found, look = _of_status(part, status, promoted=promoted), part.look
            return ({"asks": found} | ({"look": look} if look else {})) if found else {}
    return {}


def _of_status(part: Part, status: int, *, promoted: bool) -> str:
    """Of several bits the worst counts; an unknown one makes the pattern unknown, unless another asks for a reset."""
    words = [status]
    if part.bits:
        words = [1 << bit for bit in range(32) if status >> bit & 1]
    asks = [RESET if promoted and word in part.promoted else part.asks.get(word, "") for word in words]
    return next((one for one in (RESET, "", RESTART, LOOK, NOTHING) if one in asks), "")
