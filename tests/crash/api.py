"""The lab's API server with bad days: errors for those who come by a given address, answers that get lost, a memory that is gone."""

from collections.abc import Callable
from random import Random

from aiohttp import web

from podvitals.lab.api import ApiServer
from podvitals.lab.api.kinds import KINDS
from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.store import encode

Trouble = Callable[[web.Request], int]
"""The status to answer instead, 0 for none; LOST: done, but the answer never leaves."""
LOST = -1


def errors(random: Random, share: float) -> Trouble:
    """Some of all requests, watches included: they may be told 410."""

    def trouble(request: web.Request) -> int:
        if random.random() > share:
            return 0
        watches = "watch" in request.query
        codes = [429, 500, 503, *([410] if watches else []), *([409, 422] if request.method == "PATCH" else [])]
        return random.choice(codes)

    return trouble


def refuses_pods(random: Random) -> Trouble:
    """Writes of pods' status, always in the same way; Leases are renewed all the same."""
    code = random.choice((403, 409, 422, 429, 500, 503))

    def trouble(request: web.Request) -> int:
        return code if request.method == "PATCH" and request.path.endswith("/status") and "/pods/" in request.path else 0

    return trouble


def loses_answers(random: Random, share: float) -> Trouble:
    """Writes are done, and nobody is told."""

    def trouble(request: web.Request) -> int:
        return LOST if request.method in ("PATCH", "POST") and random.random() < share else 0

    return trouble


class BadApi(ApiServer):
    """`troubles`: by the address (host:port) that a client believes to be the server's, so that each side has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: dict[str, Trouble] = {}

    def forget(self) -> None:
        """As after a restart of a server with an empty watch cache: whoever comes back with an old version is told 410."""
        for kind in KINDS:
            history = self.store.history(kind)
            history.first, history.floor = history.end, self.store.version
            history.changes.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        trouble = self.troubles.get(request.host)
        code = trouble(request) if trouble is not None else 0
        if code == LOST:
            answer = await super()._serve(request)
            if request.transport is not None:
                request.transport.abort()
            return answer
        if code:
            refusal = Refusal(code, "a bad day of the API server")
            headers = {"Content-Type": "application/json"} | ({"Retry-After": "1"} if code == 429 else {})
            return web.Response(body=encode(refusal.status()), status=code, headers=headers)
        return await super()._serve(request)
