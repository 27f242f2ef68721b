"""Times as Kubernetes writes them: RFC 3339, in UTC when we write. No clock here: what time it is, the caller knows."""

from datetime import UTC, datetime


def unix(text: str | None) -> float | None:
    """Unix seconds of an RFC 3339 time (`2026-11-23T12:03:04Z`, with or without a fraction); None for no time or for what is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def rfc3339(seconds: float) -> str:
    """Whole seconds (meta/v1 Time), rounded down: `2026-11-23T12:03:04Z`."""
    return datetime.fromtimestamp(int(seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """With microseconds, always six digits (meta/v1 MicroTime, which Lease and events.k8s.io use): `2026-11-23T12:03:04.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
