"""Lists, whole and in pages. A continue token stands for a snapshot, so a list of several requests is of one moment. Pure."""

import base64
import binascii
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from podvitals.lab.api.query import ListQuery
from podvitals.lab.api.refusal import Refusal, expired
from podvitals.lab.api.registry import Target
from podvitals.lab.api.store import Item, Store

KEPT_SNAPSHOTS = 64
TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    items: list[Item]
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Item]
    meta: dict[str, Any]


class Lister:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._last = 0

    def page(self, target: Target, query: ListQuery) -> Page:
        if query.token:
            number, start, snapshot = self._resume(query.token)
        else:
            number, start, snapshot = 0, 0, self._take(target, query)
        left = len(snapshot.items) - start
        meta: dict[str, Any] = {"resourceVersion": str(snapshot.version)}
        if not query.limit or left <= query.limit:
            return Page(snapshot.items[start:] if start else snapshot.items, meta)
        meta["continue"] = _token(number or self._keep(snapshot), start + query.limit)
        if not query.selective:
            meta["remainingItemCount"] = left - query.limit
        return Page(snapshot.items[start : start + query.limit], meta)

    def _take(self, target: Target, query: ListQuery) -> Snapshot:
        version = self._store.version
        if query.version is not None and query.version > version:
            message = f"Timeout: Too large resource version: {query.version}, current: {version}"
            details = {"retryAfterSeconds": 1, "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
            raise Refusal(504, message, details=details)
        if query.version_match == "Exact" and query.version != version:
            raise expired(f"the lab's API server keeps no old lists: resource version {query.version} is past, {version} is now")
        items = self._store.items(target.kind, target.namespace)
        return Snapshot([item for item in items if query.matches(item.data)] if query.selective else items, version)

    def _keep(self, snapshot: Snapshot) -> int:
        self._last += 1
        self._snapshots[self._last] = snapshot
        while len(self._snapshots) > KEPT_SNAPSHOTS:
            self._snapshots.popitem(last=False)
        return self._last

    def _resume(self, token: str) -> tuple[int, int, Snapshot]:
        try:
            number, start = json.loads(base64.urlsafe_b64decode(token))
        except (ValueError, TypeError, binascii.Error):
            raise Refusal(400, "continue key is not valid: it is the token of the page before") from None
        snapshot = self._snapshots.get(number)
        if snapshot is None:
            raise expired(TOO_OLD)
        return number, start, snapshot


def _token(number: int, start: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([number, start]).encode()).decode()
