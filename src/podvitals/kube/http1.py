"""HTTP/1.1 as a client of one server speaks it (RFC 9112): a request as bytes, an answer from bytes however they are cut. Pure.

What an API server and the proxies before it send, and no more: nothing compressed, no cookies, no redirects followed. What is ambiguous is
refused and not guessed at, since the next answer of the connection would begin at the wrong place.
"""

from collections.abc import Callable, Mapping

from podvitals.errors import InvalidInput

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's status line and headers, and of the trailers behind a chunked body."""
CHUNK_LINE_LIMIT = 1024
MOST_INTERIM = 16
"""Answers of 1xx before the real one."""
_DIGITS, _HEX = frozenset(b"0123456789"), frozenset(b"0123456789abcdefABCDEF")
_LONGEST_NUMBER = 15


class BadAnswer(Exception):
    """What came is not an answer of HTTP that is understood here; the text says why."""


def request(method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """`target` is quoted already. InvalidInput for a header that would be read as something else."""
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        # In a token as in any other: a line end would begin a header of somebody else's choice.
        if not value.isascii() or not value.isprintable():
            raise InvalidInput(f"the header {name} cannot be sent: what it should say holds a character that is not printable ASCII")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("ascii") + (body or b"")


class Answer:
    """One answer as it arrives: `feed` and `end` tell what came, `take` gives what is new of its body.

    `status` is 0 until the head is complete. `headers` by their names in lower case; of one that came twice both values, with a comma
    between. `head_only`: the answer to a CONNECT, behind whose head another protocol begins."""

    __slots__ = ("_body", "_buffer", "_head_only", "_interim", "_lasting", "_left", "_step", "complete", "headers", "status")

    def __init__(self, *, head_only: bool = False) -> None:
        self.status, self.headers, self.complete = 0, dict[str, str](), False
        self._head_only, self._lasting, self._interim = head_only, True, 0
        self._buffer, self._body = bytearray(), bytearray()
        self._left = 0  # bytes still to come of the body, or of the chunk
        self._step: Callable[[Answer], bool] = Answer._head  # not bound to this answer: it would be garbage of its own

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: the answer is over, and nothing unasked-for came behind it."""
        return self.complete and self._lasting and not self._buffer

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while not self.complete and self._step(self):
            pass

    def end(self) -> bool:
        """The connection ended. Whether that was the answer's end, too."""
        if self.status and self._step is Answer._rest:
            self.complete, self._lasting = True, False
        return self.complete

    def take(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        return body

    # --- steps: each takes what it can of the buffer, and says whether the next one may go on ---------------------------------------

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._bound(HEAD_LIMIT, "the head of an answer")
            return False
        version, status, headers = _parsed(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise BadAnswer(f"more than {MOST_INTERIM} answers that announce another")
            return True
        self.status, self.headers = status, headers
        asked = {option.strip() for option in headers.get("connection", "").lower().split(",")}
        self._lasting = "close" not in asked and (version != "HTTP/1.0" or "keep-alive" in asked)
        self._frame()
        return True

    def _frame(self) -> None:
        """How long the body is (RFC 9112, 6.3)."""
        if self._head_only or self.status in (204, 304):
            self.complete = True
            return
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadAnswer("the answer is compressed, which was not asked for")
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked":
                raise BadAnswer("the answer has a transfer coding that was not asked for")
            self._step = Answer._chunk_line
        elif length is not None:
            self._left = _number(length.encode(), _DIGITS, 10, "Content-Length")
            self._step = Answer._sized
            self.complete = self._left == 0
        else:
            self._step = Answer._rest

    def _sized(self) -> bool:
        self._move()
        self.complete = self._left == 0
        return False

    def _rest(self) -> bool:
        """Until the connection ends."""
        self._left = len(self._buffer)
        self._move()
        return False

    def _chunk_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            self._bound(CHUNK_LINE_LIMIT, "the length of a chunk")
            return False
        size = bytes(self._buffer[:end]).partition(b";")[0].strip()
        del self._buffer[: end + 2]
        self._left = _number(size, _HEX, 16, "the length of a chunk")
        self._step = Answer._chunk if self._left else Answer._trailers
        return True

    def _chunk(self) -> bool:
        self._move()
        if self._left or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise BadAnswer("a chunk is longer than it says")
        del self._buffer[:2]
        self._step = Answer._chunk_line
        return True

    def _trailers(self) -> bool:
        """None is of interest; an empty line ends them."""
        end = self._buffer.find(b"\r\n")
        if end < 0:
            self._bound(HEAD_LIMIT, "what follows an answer")
            return False
        del self._buffer[: end + 2]
        self.complete = end == 0
        return True

    def _move(self) -> None:
        taken = min(self._left, len(self._buffer))
        if taken == len(self._buffer) and not self._body:
            self._body, self._buffer = self._buffer, self._body  # all of it: nothing needs to be copied
        else:
            self._body += self._buffer[:taken]
            del self._buffer[:taken]
        self._left -= taken

    def _bound(self, limit: int, what: str) -> None:
        if len(self._buffer) > limit:
            raise BadAnswer(f"{what} is longer than {limit} bytes")


def _parsed(head: bytes) -> tuple[str, int, dict[str, str]]:
    """Version, status and headers of a head."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(status) != 3 or not status.isdecimal() or not status.isascii() or rest[3:4].strip():
        raise BadAnswer("what answers there does not speak HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadAnswer("the answer has a header that is none")
        name, value = name.lower(), value.strip()
        if name in headers and (name != "content-length" or headers[name] != value):
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return version, int(status), headers


def _number(text: bytes, digits: frozenset[int], base: int, what: str) -> int:
    if not text or len(text) > _LONGEST_NUMBER or not digits.issuperset(text):
        raise BadAnswer(f"{what} is not a number")
    return int(text, base)
