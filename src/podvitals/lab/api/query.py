"""What a request asks for beside its path: options of lists, watches, writes, deletions. Pure; bad values are refused as upstream does."""

from collections.abc import Mapping
from dataclasses import dataclass

from podvitals.lab.api import selectors
from podvitals.lab.api.deletion import Wish
from podvitals.lab.api.kinds import Kind
from podvitals.lab.api.refusal import Fault, Refusal, unprocessable
from podvitals.lab.api.registry import Options, Target
from podvitals.lab.api.schema import Body
from podvitals.lab.api.selectors import Predicate

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """`version`: None (not given), 0 ("whatever you have") or a resource version."""

    matches: Predicate
    selective: bool
    version: int | None
    version_match: str = ""
    limit: int = 0
    token: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout: float | None = None


def listing(target: Target, query: Query) -> ListQuery:
    """A GET of a collection; of one object with `watch`, which is a watch of a collection of one."""
    by_field = query.get("fieldSelector", "")
    if target.name:
        by_field = ",".join(part for part in (by_field, f"metadata.name={target.name}") if part)
    by_label = query.get("labelSelector", "")
    made = ListQuery(
        matches=selectors.both(selectors.labels(by_label), selectors.fields(target.kind, by_field)),
        selective=bool(by_field or by_label),
        version=_version(query.get("resourceVersion", "")),
        version_match=query.get("resourceVersionMatch", ""),
        limit=_number(query, "limit"),
        token=query.get("continue", ""),
        watch=_flag(query, "watch"),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        initial_events=_flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None,
        timeout=float(_number(query, "timeoutSeconds")) or None,
    )
    _check(target.kind, made)
    return made


def _check(kind: Kind, made: ListQuery) -> None:
    """The combinations upstream forbids (ValidateListOptions)."""
    if made.watch:
        if made.initial_events is None and made.version_match:
            raise _options(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        if made.initial_events is not None and made.version_match != "NotOlderThan":
            raise _options("resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        if made.initial_events and not made.bookmarks:
            raise _options("allowWatchBookmarks: Forbidden: sendInitialEvents requires allowWatchBookmarks")
        return
    if made.initial_events is not None:
        raise _options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
    if not made.version_match:
        return
    if made.token:
        raise _options("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided")
    if made.version is None:
        raise _options("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")
    if made.version_match not in ("Exact", "NotOlderThan"):
        raise _options(f'resourceVersionMatch: Unsupported value: "{made.version_match}": supported values: "Exact", "NotOlderThan"')
    if made.version_match == "Exact" and made.version == 0:
        raise _options('resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _options(fault: str) -> Refusal:
    field, message = fault.split(": ", 1)
    return unprocessable("ListOptions", "meta.k8s.io", "", [Fault(field, message)])


def _version(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit():
        raise Refusal(400, f'resourceVersion: Invalid value: "{text}": it is the number the server gave out')
    return int(text)


def _number(query: Query, name: str) -> int:
    text = query.get(name, "")
    if text and not text.isdigit():
        raise Refusal(400, f"{name} must be a whole number, not {text!r}")
    return int(text or 0)


def _flag(query: Query, name: str) -> bool:
    return query.get(name, "false").lower() in ("true", "1", "")


def writing(query: Query) -> Options:
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise Refusal(422, f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"')
    return Options(dry_run=_dry_run(query.get("dryRun", "")), validation=validation)


def _dry_run(text: str) -> bool:
    if text not in ("", "All"):
        raise Refusal(422, f'dryRun: Unsupported value: "{text}": supported values: "All"')
    return text == "All"


def deleting(query: Query, body: Body | None) -> Wish:
    """DeleteOptions may stand in the body or, in part, in the query."""
    given = body or {}
    grace = given.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = _number(query, "gracePeriodSeconds")
    if grace is not None and not isinstance(grace, int):
        raise Refusal(400, f"gracePeriodSeconds must be a whole number, not {grace!r}")
    preconditions = given.get("preconditions") or {}
    orphan = given.get("orphanDependents")
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ("Orphan" if orphan else "Background")
    if propagation not in ("Background", "Foreground", "Orphan"):
        raise Refusal(422, f'propagationPolicy: Unsupported value: "{propagation}": supported values: "Background", "Foreground", "Orphan"')
    return Wish(
        grace=grace,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        propagation=propagation,
        dry_run=_dry_run(",".join(given.get("dryRun") or ()) or query.get("dryRun", "")),
    )
