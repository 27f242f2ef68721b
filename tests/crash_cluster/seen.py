"""What the API server shows of a namespace, as watched: pods, their claims, the events about them, and the agent's Lease."""

import asyncio
from collections.abc import Callable

from podvitals.claim.times import unix
from podvitals.device.key import DeviceKey
from podvitals.fleet.inventory import lease_name
from tests.cluster.api import Api, Object
from tests.cluster.cluster import NODE

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
FAILED_PREPARE = "FailedPrepareDynamicResources"


class Seen:
    """`on_pod(pod, at, gone)` and `on_failure(pod uid, message, at)` hear of each change."""

    def __init__(
        self, api: Api, namespace: str, on_pod: Callable[[Object, float, bool], None], on_failure: Callable[[str, str, float], None]
    ):
        self.pods: dict[str, Object] = {}
        """Those that are there, by uid."""
        self.given: dict[str, frozenset[DeviceKey]] = {}
        """What each claim was first allocated, by its name."""
        self.claim_uids: dict[str, str] = {}
        self.claims_of: dict[str, set[str]] = {}
        """The claims made for a pod, by its uid."""
        self.slices: dict[str, str] = {}
        """The driver of each ResourceSlice that is there."""
        self.renewed = 0.0
        """When the node's agent last renewed its Lease, Unix seconds; 0.0: never."""
        self._api, self._namespace, self._on_pod, self._on_failure = api, namespace, on_pod, on_failure
        self._changed = asyncio.Event()
        self._failures: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for collection, query, take in (
                (f"/apis/resource.k8s.io/v1/namespaces/{self._namespace}/resourceclaims", "", self._claim),
                ("/apis/resource.k8s.io/v1/resourceslices", "", self._slice),
                (f"/api/v1/namespaces/{self._namespace}/pods", "", self._pod),
                (f"/api/v1/namespaces/{self._namespace}/events", "", self._event),
                (LEASES, f"fieldSelector=metadata.name={lease_name(NODE)}", self._lease),
            ):
                tasks.create_task(self._follow(collection, query, take), name=f"crash: watch {collection}")

    async def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Whether it became true; asks at each change, and now and then."""
        deadline = asyncio.get_running_loop().time() + within
        while not condition():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            self._changed.clear()
            try:
                async with asyncio.timeout(min(left, 0.25)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return True

    def held(self, uid: str) -> frozenset[DeviceKey]:
        """What a pod was given."""
        return frozenset(key for claim in self.claims_of.get(uid, ()) for key in self.given.get(claim, ()))

    async def _follow(self, collection: str, query: str, take: Callable[[str, Object, float], None]) -> None:
        async with self._api.watching(collection, query) as events:
            async for kind, item, at in events:
                take(kind, item, at)
                self._changed.set()

    def _pod(self, kind: str, pod: Object, at: float) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self.pods.pop(uid, None)
        else:
            self.pods[uid] = pod
        self._on_pod(pod, at, kind == "DELETED")

    def _slice(self, kind: str, one: Object, _at: float) -> None:
        if kind == "DELETED":
            self.slices.pop(one["metadata"]["name"], None)
        else:
            self.slices[one["metadata"]["name"]] = one["spec"]["driver"]

    def _lease(self, _kind: str, lease: Object, _at: float) -> None:
        self.renewed = unix(lease["spec"].get("renewTime")) or 0.0

    def _claim(self, kind: str, claim: Object, at: float) -> None:
        name = claim["metadata"]["name"]
        self.claim_uids[name] = claim["metadata"]["uid"]
        for owner in claim["metadata"].get("ownerReferences", ()):
            self.claims_of.setdefault(owner["uid"], set()).add(name)
        allocation = claim.get("status", {}).get("allocation")
        if allocation is not None and name not in self.given:
            results = allocation["devices"]["results"]
            self.given[name] = frozenset(DeviceKey(each["driver"], each["pool"], each["device"]) for each in results)

    def _event(self, kind: str, event: Object, at: float) -> None:
        if kind == "DELETED" or event.get("reason") != FAILED_PREPARE:
            return
        count = event.get("count") or 1
        if count > self._failures.get(event["metadata"]["name"], 0):
            self._failures[event["metadata"]["name"]] = count
            self._on_failure(event["involvedObject"]["uid"], event.get("message", ""), at)
