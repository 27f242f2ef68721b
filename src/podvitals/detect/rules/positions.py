"""Where in a TOML file a key and its value stand, for messages: tomllib tells it of broken syntax only. Pure.

The text is known to be valid TOML (tomllib read it), so this only has to find its way, not to judge.
"""

import re
from collections.abc import Mapping, Sequence

Path = tuple[str, ...]
Place = tuple[int, int]
"""Line and column, both from 1."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")


class Positions:
    """Places of keys, and of their values, by path: ("xid", "79", "class"). An array's elements are not told apart."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self._document()

    def key(self, path: Sequence[str]) -> Place:
        """Of the key; of the nearest one around it where it is not there itself."""
        return _nearest(self.keys, path)

    def value(self, path: Sequence[str]) -> Place:
        return self.values.get(tuple(path)) or self.key(path)

    def _document(self) -> None:
        table: Path = ()
        while self._skip() < len(self._text):
            if self._text[self._at] == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                self._skip()
                table = self._key(())
                self._at = self._text.index("]", self._at) + 1
                if self._text.startswith("]", self._at):
                    self._at += 1
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._at = self._text.index("=", self._at) + 1
        self._skip()
        self.values.setdefault(path, self._place())
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key, dotted perhaps; each of its parts gets its place."""
        path = table
        while True:
            self._skip()
            place = self._place()
            if (found := _STRING.match(self._text, self._at)) is not None:
                part = found[0][1:-1]
            elif (found := _BARE.match(self._text, self._at)) is not None:
                part = found[0]
            else:
                return path
            self._at = found.end()
            path = (*path, part)
            self.keys.setdefault(path, place)
            self._skip()
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _value(self, path: Path) -> None:
        if self._text.startswith("{", self._at):
            self._at += 1
            while self._skip() < len(self._text) and self._text[self._at] != "}":
                self._pair(path)
                self._skip()
                self._at += self._text.startswith(",", self._at)
            self._at += 1
        elif self._text.startswith("[", self._at):
            self._at += 1
            while self._skip() < len(self._text) and self._text[self._at] != "]":
                self._value(path)
                self._skip()
                self._at += self._text.startswith(",", self._at)
            self._at += 1
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            self._at = found.end() if found is not None else len(self._text)

    def _skip(self) -> int:
        """Past blanks, line ends and comments."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._at

    def _place(self) -> Place:
        before = self._text.rfind("\n", 0, self._at)
        return self._text.count("\n", 0, self._at) + 1, self._at - before


def _nearest(places: Mapping[Path, Place], path: Sequence[str]) -> Place:
    for end in range(len(path), 0, -1):
        if (place := places.get(tuple(path[:end]))) is not None:
            return place
    return 1, 1
