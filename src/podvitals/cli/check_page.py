"""What `podvitals check` prints. No I/O here."""

from collections.abc import Iterable, Mapping, Sequence

from podvitals.cli.output import Table, paint
from podvitals.detect.exposition import product
from podvitals.detect.findings import Finding, Spoken
from podvitals.detect.replay import Change
from podvitals.device.health import Health
from podvitals.device.verdict import Verdict


def table(findings: Iterable[Finding]) -> Table:
    rows = [
        (
            one.device.name,
            str(one.verdict.health) if one.verdict is not None else "not read",
            product(one),
            one.verdict.message if one.verdict is not None else "",
            one.verdict.action if one.verdict is not None else "",
            ", ".join(one.rules),
            ", ".join(one.families),
            ", ".join(dict.fromkeys(spoken.rule.source for spoken in one.spoken if spoken.rule.source)),
        )
        for one in findings
    ]
    return Table(("DEVICE", "HEALTH", "PRODUCT", "WHY", "DO", "RULE", "READ BY", "SOURCE"), rows, wide_from=6)


def tally(findings: Sequence[Finding]) -> str:
    """`8 devices: 6 healthy (1 degraded), 1 unhealthy, 1 unknown`."""
    healths = [one.health for one in findings]
    degraded = sum(1 for one in findings if one.verdict is not None and one.verdict.health is Health.HEALTHY and one.verdict.message)
    parts = [f"{healths.count(Health.HEALTHY)} healthy{f' ({degraded} degraded)' if degraded else ''}"]
    parts += [f"{count} {health.lower()}" for health in (Health.UNHEALTHY, Health.UNKNOWN) if (count := healths.count(health))]
    return f"{len(findings)} device{'s' if len(findings) != 1 else ''}: {', '.join(parts)}"


def change_line(when: str, was: Verdict | None, now: Verdict) -> str:
    """`+2m5s  gpu-3  Healthy → Unhealthy  Xid 79: GPU has fallen off the bus  (do: power-cycle)`."""
    health = f"{was.health} → " if was is not None and was.health is not now.health else ""
    do = f"  (do: {now.action})" if now.action else ""
    return f"{when}  {now.key.device}  {health}{paint(str(now.health), now.health)}  {now.message}{do}".rstrip()


def document(findings: Iterable[Finding], changes: Iterable[Change], left_out: Mapping[str, str]) -> Mapping[str, object]:
    """For machines; the order is that of the table. `left_out`: families that could not look, and why."""
    whole: dict[str, object] = {"devices": [_device(one) for one in findings], "leftOut": dict(left_out)}
    if listed := [_change(change) for change in changes]:
        whole["changes"] = listed
    return whole


def _device(one: Finding) -> Mapping[str, object]:
    verdict = one.verdict
    return {
        "device": one.device.name,
        "attributes": {name: value if isinstance(value, bool | int) else str(value) for name, value in one.device.attributes.items()},
        "health": str(verdict.health) if verdict is not None else None,
        "message": verdict.message if verdict is not None else "",
        "action": verdict.action if verdict is not None else "",
        "rules": [_spoken(spoken) for spoken in one.spoken],
        "readings": {family: dict(values) for family, values in one.values.items()},
        "unread": {family: dict(doubts) for family, doubts in one.unread.items()},
        "counts": dict(one.counts),
    }


def _spoken(spoken: Spoken) -> Mapping[str, object]:
    rule = spoken.rule
    return {"id": rule.id, "class": str(rule.verdict), "message": spoken.text, "action": rule.action, "source": rule.source}


def _change(change: Change) -> Mapping[str, object]:
    return {
        "at": round(change.at, 3),
        "device": change.now.key.device,
        "before": str(change.before.health) if change.before is not None else None,
        "health": str(change.now.health),
        "message": change.now.message,
        "action": change.now.action,
    }
