"""Messages of rules, filled in. Pure."""

import re
from collections.abc import Mapping

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")


def filled(template: str, fields: Mapping[str, str]) -> str:
    """`Xid {code}[ (PCI {pci})]` with what is known; brackets around something unknown are left out, a bare unknown is a `?`."""

    def optional(found: re.Match[str]) -> str:
        names = _FIELD.findall(found[1])
        return found[1] if all(fields.get(name) for name in names) else ""

    return _FIELD.sub(lambda found: fields.get(found[1]) or "?", _OPTIONAL.sub(optional, template))


def number(value: float) -> str:
    """As people write it: 16, 8.5."""
    return f"{value:g}"
