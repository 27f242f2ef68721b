"""A client that hides nothing: paths, bodies and answers as they are on the wire."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from podvitals.lab.api import ApiServer

PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Body = dict[str, Any]
SECONDS = aiohttp.ClientTimeout(total=20)
"""No test waits longer for an answer, or for what a watch may still say."""


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    body: Any
    headers: Mapping[str, str]


class Plain:
    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def __call__(self, method: str, path: str, body: Any = None, *, kind: str = "application/json", accept: str = "") -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind} if data is not None else {}
        if accept:
            headers["Accept"] = accept
        async with self.session.request(method, self.server.url + path, data=data and io.BytesIO(data), headers=headers) as response:
            text = await response.read()
            parsed = json.loads(text) if "json" in response.headers["Content-Type"] else text
            return Reply(response.status, parsed, response.headers)

    async def get(self, path: str, **options: Any) -> Body:
        reply = await self("GET", path, **options)
        assert reply.code == 200, reply.body
        body: Body = reply.body
        return body

    async def create(self, path: str, body: Body) -> Body:
        reply = await self("POST", path, body)
        assert reply.code == 201, reply.body
        made: Body = reply.body
        return made

    async def put(self, path: str, body: Body) -> Body:
        reply = await self("PUT", path, body)
        assert reply.code in (200, 201), reply.body
        made: Body = reply.body
        return made

    async def patch(self, path: str, patch: Any, kind: str = STRATEGIC) -> Body:
        reply = await self("PATCH", path, patch, kind=kind)
        assert reply.code == 200, reply.body
        made: Body = reply.body
        return made

    async def delete(self, path: str, body: Body | None = None) -> Body:
        reply = await self("DELETE", path, body)
        assert reply.code == 200, reply.body
        made: Body = reply.body
        return made

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator["Events"]:
        params = {"watch": "true"} | query
        async with self.session.get(self.server.url + path, params=params) as response:
            assert response.status == 200, await response.text()
            yield Events(response)


class Events:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Body:
        line = await self.response.content.readline()
        assert line, "the watch ended"
        event: Body = json.loads(line)
        return event

    async def names(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in events]

    async def ends(self) -> bool:
        return await self.response.content.readline() == b""


def pod(name: str, **labels: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"} | ({"labels": labels} if labels else {}),
        "spec": {"containers": [{"name": "main", "image": "lab", "command": ["sleep", "1"]}]},
    }


def claim(name: str, **meta: Any) -> Body:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    return {"metadata": {"name": name} | meta, "spec": {"devices": {"requests": [request]}}}
