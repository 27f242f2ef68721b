"""The suite for drivers: any DRA driver in any language, through its registration socket. Nothing is registered and no claim is prepared
unless one is named, so it may run beside a kubelet."""

from podvitals.testing.conformance.case import Case
from podvitals.testing.conformance.driver import calls, endings, health, registration, reports, restart
from podvitals.testing.conformance.driver.subject import DriverSubject

CASES: tuple[Case[DriverSubject], ...] = tuple(
    case for part in (registration, calls, health, reports, endings, restart) for case in part.CASES.all
)
