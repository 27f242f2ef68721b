"""The forms an answer can take: the object itself, a table for people, or metadata alone; chosen by the Accept header. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from podvitals.lab.api import tables
from podvitals.lab.api.kinds import Kind
from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.schema import Body
from podvitals.lab.api.store import Item, encode

Form = Literal["object", "table", "metadata"]
FORMS: dict[str, Form] = {
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
}


@dataclass(frozen=True, slots=True)
class View:
    """`include` is what a table's rows carry of the object: Metadata (default), Object or None."""

    form: Form = "object"
    include: str = "Metadata"


def negotiate(accept: str, include: str) -> View:
    """The first form offered that the server has. Refusal 406 where there is none: it speaks JSON only."""
    for offer in accept.split(",") if accept else ["*/*"]:
        media, *parameters = (part.strip() for part in offer.split(";"))
        wanted = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media not in ("application/json", "*/*", "application/*"):
            continue
        if "as" not in wanted:
            return View()
        if wanted["as"] in FORMS and wanted.get("v", "v1") == "v1" and wanted.get("g", "meta.k8s.io") == "meta.k8s.io":
            return View(FORMS[wanted["as"]], include or "Metadata")
    raise Refusal(406, f"the lab's API server speaks JSON only, and the client accepts only {accept}")


def one(view: View, kind: Kind, item: Item, now: float, *, columns: bool = True) -> bytes:
    """One object; `columns=False` for the later events of a watch, which do not repeat a table's head."""
    match view.form:
        case "object":
            return item.json
        case "metadata":
            return encode(_metadata(item))
        case "table":
            head = tables.definitions(kind) if columns else []
            meta = {"resourceVersion": item.meta.get("resourceVersion", "")}
            return encode(_table(head, meta) | {"rows": [_row(view, kind, item, now)]})


def many(view: View, kind: Kind, items: Sequence[Item], meta: Body, now: float) -> bytes:
    """A list of objects. Their bytes are those already encoded."""
    if view.form == "table":
        return encode(_table(tables.definitions(kind), meta) | {"rows": [_row(view, kind, item, now) for item in items]})
    if view.form == "metadata":
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return _list(head, (encode(_metadata(item)) for item in items))
    head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta}
    # Every stored object begins with these two; a list says them once, for all.
    skip = len(encode({"apiVersion": kind.api_version, "kind": kind.kind}))
    return _list(head, (b"{" + item.json[skip:] for item in items))


def _list(head: Body, items: Iterable[bytes]) -> bytes:
    return encode(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"


def _table(columns: list[Body], meta: Body) -> Body:
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns or None}


def _metadata(item: Item) -> Body:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item.meta}


def _row(view: View, kind: Kind, item: Item, now: float) -> Body:
    made: Body = {"cells": tables.row(kind, item.data, now)}
    if view.include == "Object":
        made["object"] = item.data
    elif view.include == "Metadata":
        made["object"] = _metadata(item)
    return made
