"""A kind of line of the kernel log: how it is known, and which code it is. What a code means is a rule's. Pure."""

import re
from dataclasses import dataclass

KMSG = "kmsg"
"""The table of a line that says nothing else."""


@dataclass(frozen=True, slots=True)
class Line:
    """`id`: its name in [lines.NAME]. `has`: words that every such line contains, looked for before the pattern. `table`, `code`: of the
    Code, with {group} filled in. `origin`: the file, where it is an operator's."""

    id: str
    has: str
    pattern: re.Pattern[str]
    table: str
    code: str
    origin: str = ""
