"""What kubelets before 1.37 do not show in a pod's field, or do not know of a driver's health (CONTRACT §3, §5): data, for `@needs(...)`.

A test that needs what a release lacks is run there all the same, and must fail for it (`expected`)."""

from enum import StrEnum

import pytest


class Shown(StrEnum):
    """What a test may look for. The value: why a release that lacks it does not show it."""

    CLAIM_OF_A_TEMPLATE = "the field is filled only where the pod's name for a claim happens to be the ResourceClaim's"
    CLAIM_BY_ITS_NAME = "the field is filled only for claims made from a template"
    OWN_DEVICES = "a container is shown with every device of its claim, whatever it requested"
    MESSAGE = "neither the report nor the field has a message"
    LEASE = "a device's lease is 30 s, whatever the report says"
    ONE_ENTRY_OF_A_SHARED_CDI_ID = "the API server refuses the status of a pod with two devices of one first CDI id: Pending for ever"
    HEALTH_V1 = "v1 health is not known, and v1alpha1 not served here"
    HEALTH_LEFT_ALONE = "a driver that answers UNIMPLEMENTED is asked for its health again every 5 s (kubernetes#141855)"


LACKING = {
    34: frozenset(Shown),
    35: frozenset(Shown) - {Shown.CLAIM_OF_A_TEMPLATE, Shown.LEASE},
    36: frozenset({Shown.HEALTH_V1, Shown.HEALTH_LEFT_ALONE}),
}
"""By minor release; later ones lack nothing of it."""

NOT_TRIED = frozenset({Shown.ONE_ENTRY_OF_A_SHARED_CDI_ID})
"""It leaves a kubelet behind that registers no driver any more."""


def lacks(version: str, shown: Shown) -> str | None:
    """Why this release does not show it; None: it does."""
    return shown.value if shown in LACKING.get(int(version.split(".")[1]), ()) else None


def needs(*shown: Shown) -> pytest.MarkDecorator:
    return pytest.mark.needs(*shown)


def expected(version: str, shown: Shown) -> pytest.MarkDecorator | None:
    """What a release that lacks it makes of a test that needs it: a failure, so that one which mends it is noticed."""
    if (reason := lacks(version, shown)) is None:
        return None
    return pytest.mark.xfail(reason=f"{version}: {reason}", strict=True, run=shown not in NOT_TRIED)
