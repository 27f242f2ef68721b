"""Sees all claims of all pods again and again; condemns each once."""

from collections.abc import Iterable

from podvitals.device.health import Health
from tests.crash.oracle import Claim, Wrong
from tests.crash.truth import Truth
from tests.crash_cluster import limits
from tests.crash_cluster.oracle import PLACES, Order, end_of, which


class Judge:
    def __init__(self, truth: Truth, order: Order) -> None:
        self._truth, self._order = truth, order
        self._late: dict[Claim, float] = {}
        self._unknown: dict[Claim, float] = {}
        self._condemned: set[Claim] = set()
        self.blips: list[float] = []
        self.seen = 0

    def judge(self, claims: Iterable[Claim], now: float, stalled: float) -> list[Wrong]:
        """`stalled`: seconds of late in which this process got no turn."""
        wrong: list[Wrong] = []
        present = set(claims)
        unknown = {claim for claim in present if claim.health is Health.UNKNOWN}
        wrong += self._needless(unknown, now, stalled)
        present -= unknown
        for claim in sorted(present - self._condemned, key=str):
            self.seen += 1
            end = end_of(claim, self._truth, self._order, now)
            if claim.health is not Health.HEALTHY and self._truth.of(claim.key, claim.serial) is None:
                self._condemned.add(claim)
                wrong.append(Wrong("invented", f"{claim}, which it never was"))
            elif now > end + limits.ALLOWANCE + stalled:
                if now - self._late.setdefault(claim, now) > limits.BLIP + stalled:
                    self._condemned.add(claim)
                    kind = "false Healthy" if claim.health is Health.HEALTHY else "stale fault"
                    wrong.append(Wrong(kind, f"{claim}, {now - end:.1f} s after its end"))
            else:
                self._late.pop(claim, None)
        for claim in self._late.keys() - present:
            since = self._late.pop(claim)
            if claim not in self._condemned:
                self.blips.append(now - since)
        self._condemned &= present | unknown
        return wrong

    def _needless(self, unknown: set[Claim], now: float, stalled: float) -> Iterable[Wrong]:
        """Those that are Unknown although everything has been in order for long."""
        self._unknown = {claim: self._unknown.get(claim, now) for claim in unknown}
        for claim, since in self._unknown.items():
            self.seen += 1
            good = self._order.good_from(*PLACES[claim.where], f"driver:{which(claim.key)}")
            if now > max(since, good) + limits.NEEDLESS + stalled and claim not in self._condemned:
                self._condemned.add(claim)
                yield Wrong("needless Unknown", f"{claim} for {now - since:.1f} s")
