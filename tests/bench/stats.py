"""Medians with the interval they may be trusted in, by bootstrap: latencies have no distribution worth assuming."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> Estimate:
    return bootstrap([(value,) for value in values], lambda rows: statistics.median(row[0] for row in rows))


def over_floor(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """By how much the median of the first exceeds that of the second; pairs are drawn together."""
    return bootstrap(pairs, lambda rows: statistics.median(row[0] for row in rows) - statistics.median(row[1] for row in rows))


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    return bootstrap(pairs, lambda rows: statistics.median(row[0] for row in rows) / statistics.median(row[1] for row in rows))


def bootstrap(rows: Sequence[tuple[float, ...]], of: Callable[[Sequence[tuple[float, ...]]], float]) -> Estimate:
    dice = random.Random(0)  # the same samples give the same table
    drawn = sorted(of(dice.choices(rows, k=len(rows))) for _ in range(ROUNDS))
    return Estimate(of(rows), drawn[int(0.025 * ROUNDS)], drawn[int(0.975 * ROUNDS)])
