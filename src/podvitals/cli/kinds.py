"""What `get` lists and `describe` describes, by the names people have for it, as kubectl takes them."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click

KINDS = {"pods": ("pod", "po"), "devices": ("device", "dev"), "drivers": ("driver",), "nodes": ("node", "no")}
"""A kind's name, and what else it is called."""


def kind_called(word: str) -> str | None:
    return next((kind for kind, others in KINDS.items() if word.lower() in (kind, *others)), None)


def kind_named(text: str) -> tuple[str | None, str]:
    """KIND/NAME as its kind and its name; (None, "") where it is not of that form."""
    before, _, name = text.partition("/")
    kind = kind_called(before) if name else None
    return kind, name if kind else ""


def offered(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """What a shell completes a kind to."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def meant(name: str, names: Iterable[str]) -> str:
    """`; did you mean llm-0?`: those that begin with `name`, as the pods of a Deployment do, or are written much like it; else "". A
    sibling that differs by its number is another, not a slip."""
    others = [other for other in names if re.sub(r"\d", "", other) != re.sub(r"\d", "", name)]
    near = sorted(other for other in others if other.startswith(name)) or get_close_matches(name, others)
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""
