"""HTTP/2 header blocks (HPACK, RFC 7541) as the pairs of text they mean, and back. Pure.

A call is three blocks, nearly always those of the call before it, so what a block meant is kept for as long as it means the same. What we
send leaves the peer's table alone: the same header is the same bytes, made once.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

TABLE = 4096
"""Bytes of headers a peer may have us remember: HTTP/2's default, which we leave."""
LONGEST = 64 * 1024
"""Bytes of headers in an answer, counted as HTTP/2 counts them: the text of a status may be the output of a tool. Taking them back from
Huffman's code costs 0.1 ms a KiB, in one go."""
LONGEST_REQUEST = 16 * 1024
MOST = 2 * LONGEST
"""Bytes of headers that are read to the end, though they are too many, since later blocks build on them."""
_ENTRY = 32
"""Bytes a header counts beside its own."""
_SHORT = 200
_NO_TABLE = b"\x20"
"""Says that the encoder remembers nothing."""

Pair = tuple[str, str]
Headers = Sequence[Pair]


class Malformed(Exception):
    """These bytes are no header block."""


class TooLong(Exception):
    """A header block that is one, and more than is taken."""


def _text(name: bytes, value: bytes) -> Pair:
    return name.decode("latin-1"), value.decode("utf-8", "replace")


_STATIC = tuple(_text(name, value) for name, value in HeaderTable.STATIC_TABLE)
_INDEXED = {pair: bytes((0x80 | number,)) for number, pair in enumerate(_STATIC, 1) if pair[1]}


class Encoder:
    """Of one connection."""

    def __init__(self) -> None:
        self._first = True

    def encode(self, headers: Headers) -> bytes:
        block = b"".join([_encoded(pair) if len(pair[0]) + len(pair[1]) < _SHORT else _literal(*pair) for pair in headers])
        if self._first:
            # A peer that makes its table smaller later is then owed no word about it.
            self._first = False
            return _NO_TABLE + block
        return block


@lru_cache(maxsize=512)
def _encoded(pair: Pair) -> bytes:
    return _INDEXED.get(pair) or _literal(*pair)


def _literal(name: str, value: str) -> bytes:
    """Without indexing, without Huffman."""
    return b"\0" + _string(name.encode("latin-1", "replace")) + _string(value.encode("utf-8", "surrogateescape"))


def _string(data: bytes) -> bytes:
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    size -= 127
    prefix = bytearray((127,))
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + data


class Decoder:
    """Of one connection: a block means what the blocks before it have made of the table."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._table: deque[Pair] = deque()
        self._sizes: deque[int] = deque()
        self._size, self._most = 0, TABLE
        self._known: dict[bytes, tuple[Pair, ...]] = {}
        """What blocks mean that leave the table as it is, by their bytes."""

    def decode(self, block: bytes) -> tuple[Pair, ...]:
        known = self._known.get(block)
        if known is not None:
            return known
        before = self._changes
        try:
            pairs = tuple(self._pairs(block))
        except (IndexError, HPACKDecodingError) as error:
            raise Malformed(str(error)) from None
        if len(block) < _SHORT and self._changes == before:
            if len(self._known) > 64:
                self._known.clear()
            self._known[block] = pairs
        return pairs

    _changes = 0
    """How often the table was changed."""

    def _pairs(self, block: bytes) -> list[Pair]:
        pairs: list[Pair] = []
        at, end, size = 0, len(block), 0
        while at < end:
            first = block[at]
            if 0x80 < first < 0xFF:  # by far the most
                pair, at = self._at(first & 0x7F), at + 1
            elif first >= 0x80:
                number, at = _number(block, at, 0x7F)
                pair = self._at(number)
            elif first & 0xE0 == 0x20:
                if pairs:
                    raise Malformed("the table's size changes in the middle of a block")
                most, at = _number(block, at, 0x1F)
                self._resize(most)
                continue
            else:
                keep = first >= 0x40
                number, at = _number(block, at, 0x3F if keep else 0x0F)
                if number:
                    name = self._at(number)[0]
                else:
                    raw, at = _bytes(block, at)
                    name = raw.decode("latin-1")
                raw, at = _bytes(block, at)
                pair = (name, raw.decode("utf-8", "replace"))
                if keep:
                    self._keep(pair, len(name) + len(raw) + _ENTRY)
            size += len(pair[0]) + len(pair[1]) + _ENTRY
            if size <= self._longest:
                pairs.append(pair)
            elif size > MOST:
                raise Malformed(f"more than {MOST} bytes of headers")
        if size > self._longest:
            raise TooLong(f"more than {self._longest} bytes of headers")
        return pairs

    def _at(self, number: int) -> Pair:
        if number > 61:
            return self._table[number - 62]
        if not number:
            raise Malformed("a header without a number")
        return _STATIC[number - 1]

    def _keep(self, pair: Pair, size: int) -> None:
        self._changed()
        self._table.appendleft(pair)
        self._sizes.appendleft(size)
        self._size += size
        self._shrink()

    def _resize(self, most: int) -> None:
        if most > TABLE:
            raise Malformed(f"a table of {most} bytes, where {TABLE} may be")
        self._changed()
        self._most = most
        self._shrink()

    def _shrink(self) -> None:
        while self._size > self._most:
            self._table.pop()
            self._size -= self._sizes.pop()

    def _changed(self) -> None:
        self._changes += 1
        self._known.clear()


def _number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    for shift in range(0, 28, 7):
        part = block[at]
        at += 1
        number += (part & 127) << shift
        if part < 128:
            return number, at
    raise Malformed("a number of more than four bytes")


def _bytes(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    size, at = _number(block, at, 0x7F)
    data = block[at : at + size]
    if len(data) < size:
        raise Malformed("a block that ends in the middle of a header")
    return decode_huffman(data) if coded else data, at + size
