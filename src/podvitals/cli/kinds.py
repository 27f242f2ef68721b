"""What `get` lists and `describe` describes, by the names people have for it, as kubectl takes them."""

KINDS = {"pods": ("pod", "po"), "devices": ("device", "dev"), "drivers": ("driver",), "nodes": ("node", "no")}
"""A kind's name, and what else it is called."""


def kind_called(word: str) -> str | None:
    return next((kind for kind, others in KINDS.items() if word.lower() in (kind, *others)), None)


def kind_named(text: str) -> tuple[str | None, str]:
    """KIND/NAME as its kind and its name; (None, "") where it is not of that form."""
    before, _, name = text.partition("/")
    kind = kind_called(before) if name else None
    return kind, name if kind else ""
