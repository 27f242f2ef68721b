"""How objects go: grace periods, finalizers, namespaces with their content, and what an owner leaves behind. Pure but for the clock.

Upstream does the last two in controllers, a little later; here they happen within the write that causes them, so nobody waits for them.
"""

from dataclasses import dataclass

from podvitals.lab.api.kinds import EVENTS, KINDS, NAMESPACES, PODS, Kind
from podvitals.lab.api.refusal import conflict
from podvitals.lab.api.registry import Registry, Target, timestamp
from podvitals.lab.api.store import Item, Key

FOREGROUND = "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class Wish:
    """A DeleteOptions: grace in seconds (None: the object's own), preconditions, what becomes of dependents."""

    grace: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = "Background"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`gone`: it is no more; else it waits for grace or finalizers."""

    item: Item
    gone: bool


class Deletion:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        registry.finish = self._finish
        registry.created = self._collect_orphan

    def delete(self, target: Target, wish: Wish) -> Outcome:
        item = self._registry.read(target)
        self._check(target, item, wish)
        if wish.dry_run:
            return Outcome(item, True)
        return self._delete(target.kind, item, wish)

    def evict(self, target: Target, wish: Wish) -> None:
        """A deletion that says in a condition what it is."""
        item = self._registry.read(target)
        if not wish.dry_run:
            data = item.copy()
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            }
            condition["lastTransitionTime"] = timestamp(self._registry.wall())
            kept = [each for each in data["status"].get("conditions", ()) if each["type"] != condition["type"]]
            data["status"]["conditions"] = [*kept, condition]
            self._store.put(target.kind, data)
        self.delete(target, wish)

    def _check(self, target: Target, item: Item, wish: Wish) -> None:
        for label, wanted, found, changed in (
            ("UID", wish.uid, item.meta["uid"], "The object might have been deleted and then recreated"),
            ("ResourceVersion", wish.resource_version, item.meta["resourceVersion"], "The object might have been modified"),
        ):
            if wanted and wanted != found:
                why = f"the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). {changed}"
                raise conflict(target.kind.kind, target.kind.group, target.name, why)

    def _delete(self, kind: Kind, item: Item, wish: Wish) -> Outcome:
        if kind is NAMESPACES:
            return self._delete_namespace(item)
        grace = _grace(item, wish) if kind is PODS else 0
        dependents = self._store.owned(item.meta["uid"])
        foreground = wish.propagation == "Foreground" and bool(dependents)
        if wish.propagation == "Orphan":
            self._orphan(item.meta["uid"])
        waits = grace or foreground or item.meta.get("finalizers")
        # A pod is marked even where it goes at once: upstream's watches see both, and the answer shows the mark.
        marked = self._mark(kind, item, grace, foreground) if waits or kind is PODS else item
        if not waits:
            self._remove(kind, marked)
            return Outcome(marked, True)
        if foreground:
            for dependent in dependents:
                self._delete_at(*dependent, Wish(propagation="Foreground"))
        now = self._store.get(kind, item.key)
        return Outcome(now or marked, now is None)

    def _mark(self, kind: Kind, item: Item, grace: int, foreground: bool) -> Item:
        """Sets deletionTimestamp, or brings it forward; a longer grace than the one running changes nothing."""
        data = item.copy()
        meta = data["metadata"]
        running = meta.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in meta or running is None or grace < running:
            if kind is PODS and "deletionTimestamp" not in meta:
                meta["generation"] = meta.get("generation", 1) + 1
            meta["deletionTimestamp"] = timestamp(self._registry.wall() + grace)
            meta["deletionGracePeriodSeconds"] = grace
        if foreground and FOREGROUND not in meta.get("finalizers", ()):
            meta["finalizers"] = [*meta.get("finalizers", ()), FOREGROUND]
        return item if data == item.data else self._store.put(kind, data)

    def _delete_at(self, kind: Kind, key: Key, wish: Wish) -> None:
        item = self._store.get(kind, key)
        if item is not None:
            self._delete(kind, item, wish)

    def _remove(self, kind: Kind, item: Item) -> None:
        """It goes, and with it what it owned alone; whoever waited for it to go is looked at again."""
        uid = item.meta["uid"]
        self._store.remove(kind, item.key)
        for dependent, key in self._store.owned(uid):
            left = self._store.get(dependent, key)
            if left is not None and not self._living_owners(left):
                self._delete(dependent, left, Wish())
        for owner in item.meta.get("ownerReferences", ()):
            self._owner_may_go(owner["uid"])
        if kind.namespaced:
            self._namespace_may_go(item.key.namespace)

    def _finish(self, kind: Kind, item: Item) -> bool:
        if kind is NAMESPACES and self._has_content(item.key.name):
            return False
        self._remove(kind, item)
        return True

    def _has_content(self, namespace: str) -> bool:
        return any(self._store.items(kind, namespace) for kind in KINDS if kind.namespaced and kind is not EVENTS)

    def _living_owners(self, item: Item) -> bool:
        return any(self._store.uid(owner["uid"]) for owner in item.meta.get("ownerReferences", ()))

    def _collect_orphan(self, kind: Kind, item: Item) -> None:
        """An object made for an owner that is already gone goes too: upstream's collector finds it a moment later."""
        if item.meta.get("ownerReferences") and not self._living_owners(item):
            self._delete(kind, item, Wish())

    def _orphan(self, uid: str) -> None:
        for kind, key in self._store.owned(uid):
            item = self._store.get(kind, key)
            if item is not None:
                data = item.copy()
                kept = [owner for owner in data["metadata"]["ownerReferences"] if owner["uid"] != uid]
                data["metadata"]["ownerReferences"] = kept
                if not kept:
                    del data["metadata"]["ownerReferences"]
                self._store.put(kind, data)

    def _owner_may_go(self, uid: str) -> None:
        found = self._store.uid(uid)
        item = self._store.get(*found) if found else None
        if found is None or item is None or FOREGROUND not in item.meta.get("finalizers", ()) or self._store.owned(uid):
            return
        data = item.copy()
        data["metadata"]["finalizers"].remove(FOREGROUND)
        if not data["metadata"]["finalizers"]:
            del data["metadata"]["finalizers"]
        put = self._store.put(found[0], data)
        if "finalizers" not in put.meta and not put.meta.get("deletionGracePeriodSeconds"):
            self._remove(found[0], put)

    def _delete_namespace(self, item: Item) -> Outcome:
        if "deletionTimestamp" not in item.meta:
            data = item.copy()
            data["metadata"]["deletionTimestamp"] = timestamp(self._registry.wall())
            data["status"]["phase"] = "Terminating"
            item = self._store.put(NAMESPACES, data)
        name = item.meta["name"]
        for kind in KINDS:
            for content in list(self._store.items(kind, name)) if kind.namespaced else ():
                self._delete_at(kind, content.key, Wish())
        self._namespace_may_go(name)
        now = self._store.get(NAMESPACES, item.key)
        return Outcome(now or item, now is None)

    def _namespace_may_go(self, name: str) -> None:
        item = self._store.get(NAMESPACES, Key("", name))
        if item is None or "deletionTimestamp" not in item.meta:
            return
        if self._has_content(name):
            return
        # A pod that ends while its namespace goes may leave events behind; nothing waits for them.
        for event in list(self._store.items(EVENTS, name)):
            self._store.remove(EVENTS, event.key)
        if not item.meta.get("finalizers"):
            self._store.remove(NAMESPACES, item.key)


def _grace(item: Item, wish: Wish) -> int:
    """Seconds a pod gets: none where no kubelet runs it (not bound, or already ended), at least 1 where a negative number was asked for."""
    spec, status = item.data["spec"], item.data.get("status", {})
    grace = wish.grace if wish.grace is not None else int(spec.get("terminationGracePeriodSeconds", 30))
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return 1 if grace < 0 else grace
