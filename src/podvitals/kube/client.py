"""Requests to the Kubernetes API: get, list, create, replace, patch, delete, watch."""

import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from podvitals.claim.meta import Record
from podvitals.clock import SYSTEM, Clock
from podvitals.errors import InvalidInput
from podvitals.kube.answer import OnlyMeta, RawEvent, decode, failure, page
from podvitals.kube.config import ClusterConfig
from podvitals.kube.lines import Lines
from podvitals.kube.resources import Resource
from podvitals.kube.transport import Transport

T = TypeVar("T")
Body = Mapping[str, Any] | msgspec.Struct

PAGE = 500
"""Objects in one answer to a list: what kubectl and client-go ask for."""
WATCH_SECONDS = (240.0, 300.0)
"""How long a watch is asked to last; spread, so that a node's watches do not all begin anew together."""
WATCH_GRACE = 15.0
"""Seconds after a watch's asked-for end until its silence counts as a dead connection."""

_PATCHES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """`resource_version`: from where a watch continues without a gap."""

    items: list[T]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """`type`: ADDED, MODIFIED, DELETED, or BOOKMARK, which has no object. `initial_end`: the bookmark after the initial events."""

    type: str
    object: T | None
    resource_version: str
    initial_end: bool = False


class Client:
    """`async with Client(config) as client`. One client serves a process: at most `concurrency` calls at once, any number of watches.

    `timeout`: seconds until a call that got no answer becomes ApiUnreachable; each call may name another. `user_agent`: what stands
    before its first slash is the field manager the server records for our writes.
    Namespaced objects without a namespace: all namespaces for `list` and `watch`, the context's (or the body's own) otherwise.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        timeout: float = 30.0,
        concurrency: int = 16,
        clock: Clock = SYSTEM,
        user_agent: str = "podvitals",
    ) -> None:
        self.config = config
        self._clock = clock
        self._transport = Transport(config, timeout=timeout, concurrency=concurrency, clock=clock, user_agent=user_agent)

    async def __aenter__(self) -> "Client":
        await self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    def wall(self) -> float:
        """Unix seconds by the API server's clock, as its last answer told; by ours before the first. Leases are compared with this: two
        machines that disagree about the time must not keep a dead agent alive."""
        return self._transport.wall()

    async def get(self, resource: Resource[T], name: str, namespace: str | None = None, *, timeout: float | None = None) -> T:
        return self._object(resource, await self._named("GET", resource, name, namespace, timeout=timeout))

    async def list(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        timeout: float | None = None,
    ) -> Listing[T]:
        """Everything that matches, fetched in pages of 500. Gone: the pages took so long that the server forgot; list again."""
        items: list[T] = []
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(PAGE), "continue": None}
        did = _did("list", resource, namespace)
        while True:
            path = resource.path(_quoted(namespace))
            got = page(await self._transport.request("GET", path, did, query=query, timeout=timeout), resource)
            items += got.items
            if not got.metadata.continue_:
                return Listing(items, got.metadata.resource_version)
            query["continue"] = got.metadata.continue_

    async def create(
        self, resource: Resource[T], body: Body, namespace: str | None = None, *, strict: bool = False, timeout: float | None = None
    ) -> T:
        """`strict`: an unknown or doubled field is refused (Invalid) instead of dropped."""
        whole = _whole(resource, body)
        namespace = self._namespace(resource, namespace or whole.get("metadata", {}).get("namespace"))
        name = whole.get("metadata", {}).get("name") or whole.get("metadata", {}).get("generateName")
        raw = await self._transport.request(
            "POST",
            resource.path(_quoted(namespace)),
            _did("create", resource, namespace, name),
            query={"fieldValidation": "Strict" if strict else None},
            body=msgspec.json.encode(whole),
            timeout=timeout,
        )
        return self._object(resource, raw)

    async def replace(
        self,
        resource: Resource[T],
        name: str,
        body: Body,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        strict: bool = False,
        timeout: float | None = None,
    ) -> T:
        """With `metadata.resourceVersion` in the body: Conflict if the object changed since."""
        whole = _whole(resource, body)
        namespace = namespace or whole.get("metadata", {}).get("namespace")
        query = {"fieldValidation": "Strict" if strict else None}
        data = msgspec.json.encode(whole)
        raw = await self._named("PUT", resource, name, namespace, subresource, query=query, body=data, timeout=timeout)
        return self._object(resource, raw)

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        body: Body | Sequence[Any] | bytes,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        kind: Literal["strategic", "merge", "json", "apply"] = "strategic",
        strict: bool = False,
        force: bool = False,
        field_manager: str | None = None,
        timeout: float | None = None,
    ) -> T:
        """`body` may be encoded already (bytes). With `metadata.uid` in it: refused if that object is gone and another has its name."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        query = {
            "fieldValidation": "Strict" if strict else None,
            "fieldManager": field_manager or ("podvitals" if kind == "apply" else None),
            "force": "true" if force else None,
        }
        raw = await self._named(
            "PATCH", resource, name, namespace, subresource, query=query, body=data, content_type=_PATCHES[kind], timeout=timeout
        )
        return self._object(resource, raw)

    async def delete(
        self,
        resource: Resource[T],
        name: str | None,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        labels: str | None = None,
        grace: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """One object by name (Conflict if its uid is another), or, without a name, all those that match `labels`. `grace` in seconds."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        body = msgspec.json.encode(options)
        if name is not None:
            await self._named("DELETE", resource, name, namespace, body=body, timeout=timeout)
            return
        namespace = self._namespace(resource, namespace)
        did = _did("delete", resource, namespace)
        path = resource.path(_quoted(namespace))
        await self._transport.request("DELETE", path, did, query={"labelSelector": labels}, body=body, timeout=timeout)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        content_type: str = _JSON,
        timeout: float | None = None,
    ) -> bytes:
        """Any path of the server (/readyz, a pod's proxy); the answer as it came. Errors as for every other call."""
        did = f"{method.lower()} {path}"
        return await self._transport.request(method, path, did, query=query or {}, body=body, content_type=content_type, timeout=timeout)

    def stream(self, path: str, *, query: Mapping[str, str | None] | None = None, silence: float | None = None) -> AsyncGenerator[bytes]:
        """An answer that comes piece by piece (`pods/log` with follow). `silence`: seconds without a byte that end it; None: no limit,
        but a dead connection is still noticed. Close it: `async with contextlib.aclosing(...)`."""
        return self._transport.stream(path, f"get {path}", query=query or {}, silence=silence)

    async def watch(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str | None = None,
        fields: str | None = None,
        seconds: float | None = None,
        initial: bool = False,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent[T]]:
        """Changes after `resource_version`, as they happen, until the server ends the watch (after about `seconds`, default 240 to 300).

        Gone: the version is too old, list again. `initial`: send what exists first (sendInitialEvents), then a bookmark.
        `opened`: called when the server has taken the watch, which may be long before anything happens.
        Close it when you leave early: `async with contextlib.aclosing(client.watch(...)) as events`."""
        lasting = random.uniform(*WATCH_SECONDS) if seconds is None else seconds
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": str(max(1, round(lasting))),
            "sendInitialEvents": "true" if initial else None,
            "resourceVersionMatch": "NotOlderThan" if initial else None,
        }
        did = _did("watch", resource, namespace)
        lines = Lines()
        stream = self._transport.stream(resource.path(_quoted(namespace)), did, query=query, lasting=lasting + WATCH_GRACE, opened=opened)
        try:
            async for chunk in stream:
                for line in lines.feed(chunk):
                    yield _event(line, resource, did)
        finally:
            await stream.aclose()

    async def _named(
        self,
        method: str,
        resource: Resource[T],
        name: str,
        namespace: str | None,
        subresource: str | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        content_type: str = _JSON,
        timeout: float | None = None,
    ) -> bytes:
        if not name:
            raise InvalidInput(f"the name of {resource.name} is empty: say which one is meant")
        namespace = self._namespace(resource, namespace)
        verb = {"PUT": "replace"}.get(method, method.lower())
        did = _did(verb, resource, namespace, name, subresource)
        path = resource.path(_quoted(namespace), _quoted(name), subresource)
        return await self._transport.request(method, path, did, query=query or {}, body=body, content_type=content_type, timeout=timeout)

    def _namespace(self, resource: Resource[Any], namespace: str | None) -> str | None:
        return (namespace or self.config.namespace) if resource.namespaced else None

    @staticmethod
    def _object(resource: Resource[T], raw: bytes) -> T:
        decoded: T = decode(raw, resource.struct)
        return decoded


def _event(line: bytes, resource: Resource[T], did: str) -> WatchEvent[T]:
    raw: RawEvent = decode(line, RawEvent)
    if raw.type == "ERROR":
        code = _code(raw.object)
        raise failure(code, bytes(raw.object), did)
    if raw.type == "BOOKMARK":
        meta = decode(raw.object, OnlyMeta).metadata
        return WatchEvent("BOOKMARK", None, meta.resource_version, "k8s.io/initial-events-end" in meta.annotations)
    item: Any = decode(raw.object, resource.struct)
    version = item["metadata"]["resourceVersion"] if isinstance(item, dict) else item.metadata.resource_version
    return WatchEvent(raw.type, item, version)


class _Code(Record, frozen=True, kw_only=True):
    code: int = 500


def _code(status: msgspec.Raw) -> int:
    said: _Code = decode(status, _Code)
    return said.code


def _whole(resource: Resource[Any], body: Body) -> dict[str, Any]:
    """The body with its apiVersion and kind, which structs do not carry."""
    plain: Mapping[str, Any] = msgspec.to_builtins(body) if isinstance(body, msgspec.Struct) else body
    return {"apiVersion": resource.api_version, "kind": resource.kind, **plain}


def _did(verb: str, resource: Resource[Any], namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """What was asked, for messages: `patch pods/status "a" in namespace "b"`."""
    what = f"{resource.name}/{subresource}" if subresource else resource.name
    shown = f"{verb} {what}" + (f' "{name}"' if name else "")
    return shown + (f' in namespace "{namespace}"' if namespace and resource.namespaced else "")


def _quoted(name: str | None) -> str | None:
    if name in (".", ".."):  # a server or a proxy on the way would resolve them, and answer for another object
        raise InvalidInput(f"{name!r} is not a name of a Kubernetes object")
    return quote(name, safe="") if name else None
