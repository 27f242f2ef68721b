"""Health as Kubernetes spells it in `allocatedResourcesStatus[].resources[].health` (core/v1 ResourceHealthStatus)."""

from collections.abc import Iterable
from enum import StrEnum


class Health(StrEnum):
    HEALTHY = "Healthy"
    UNKNOWN = "Unknown"
    UNHEALTHY = "Unhealthy"

    @property
    def badness(self) -> int:
        """0 Healthy, 1 Unknown, 2 Unhealthy: what is known to be broken outranks what is not known."""
        return _BADNESS[self]

    @staticmethod
    def worst(of: "Iterable[Health]") -> "Health":
        """The worst of several; Unknown for none."""
        return max(of, key=lambda health: health.badness, default=Health.UNKNOWN)


_BADNESS = {Health.HEALTHY: 0, Health.UNKNOWN: 1, Health.UNHEALTHY: 2}
