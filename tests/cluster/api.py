"""A Kubernetes API as raw dicts, for tests that judge podvitals: independent of the client they judge, and nothing is lost in decoding."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

Object = dict[str, Any]


class Refused(Exception):
    """A Status that is not success; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """`async with Api(kubeconfig) as api`. Paths are relative to the server of the kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text()) if kubeconfig.read_bytes().startswith(b"{") else _yaml(kubeconfig)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        cafile = cluster.get("certificate-authority")
        self._tls: ssl.SSLContext | bool = ssl.create_default_context(cafile=cafile) if cafile else True
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        forever = aiohttp.ClientTimeout(total=None)
        # A watch event is one line, as long as its object.
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=forever, read_bufsize=4 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None, *, kind: str = "json") -> Object:
        """`kind`: json, strategic-merge-patch+json, merge-patch+json."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": f"application/{kind}"}
        async with self._session.request(
            method, self._server + path, data=data, headers=headers, timeout=aiohttp.ClientTimeout(30)
        ) as answer:
            content = await answer.read()
        if answer.status >= 400:
            raise Refused(answer.status, content.decode(errors="replace")[:500])
        result: Object = json.loads(content)
        return result

    async def get(self, path: str) -> Object:
        return await self.request("GET", path)

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self.request("POST", path, body)

    async def delete(self, path: str, *, grace: int = 0) -> None:
        """Also when it is gone already; does not wait for finalizers."""
        try:
            await self.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": grace})
        except Refused as refused:
            if refused.code != 404:
                raise

    async def patch_status(self, path: str, body: Mapping[str, Any] | bytes) -> Object:
        return await self.request("PATCH", f"{path}/status", body, kind="strategic-merge-patch+json")

    @asynccontextmanager
    async def watching(self, collection: str, query: str = "") -> AsyncIterator[AsyncIterator[tuple[str, Object, float]]]:
        """(ADDED|MODIFIED|DELETED, object, when it was received) of a collection: what is there, then what happens. The watch stands when
        the body is entered, so a change made in it is not missed."""
        url = f"{self._server}{collection}?{query}"
        listed = await self.get(f"{collection}?{query}")
        version = listed["metadata"]["resourceVersion"]
        async with self._session.get(f"{url}&watch=1&allowWatchBookmarks=false&resourceVersion={version}") as answer:
            if answer.status >= 400:
                raise Refused(answer.status, await answer.text())

            async def events() -> AsyncIterator[tuple[str, Object, float]]:
                for item in listed["items"]:
                    yield "ADDED", item, time.monotonic()
                while line := await answer.content.readuntil(b"\n"):
                    received = time.monotonic()
                    event = json.loads(line)
                    yield event["type"], event["object"], received

            yield events()

    async def until(self, collection: str, true_of: Callable[[Object], Any], *, fields: str, within: float) -> Object:
        """The first object of a collection (under a field selector) of which the condition holds, as soon as it does; else an error that
        shows how the last one looked."""
        last: Object = {}
        try:
            async with asyncio.timeout(within), self.watching(collection, f"fieldSelector={fields}") as events:
                async for kind, last, _ in events:
                    if kind != "DELETED" and true_of(last):
                        return last
        except TimeoutError:
            pass
        last.get("metadata", {}).pop("managedFields", None)
        shown = json.dumps({key: last[key] for key in ("metadata", "status", "spec") if key in last}, indent=1)[:5000]
        raise AssertionError(f"{collection} with {fields}: not as expected within {within} s; last seen:\n{shown}")


def _yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text())
