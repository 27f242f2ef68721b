"""Quantities and versions compare as Kubernetes compares them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.lab.scheduler.quantity import NotAQuantity, Quantity, Semver


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("40Gi", 40 * 2**30),
        ("500m", 0.5),
        ("12", 12),
        ("1.5k", 1500),
        ("2E", 2e18),
        ("1e3", 1000),
        ("-3Mi", -3 * 2**20),
        ("100u", 1e-4),
        (".5", 0.5),
    ],
)
def test_quantities_mean_what_their_suffix_says(text: str, value: float) -> None:
    assert Quantity.parse(text).value == value


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "one", "1e999", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(NotAQuantity, match="quantity"):
        Quantity.parse(text)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_quantities_of_one_unit_are_ordered_as_their_numbers(a: int, b: int) -> None:
    assert (Quantity.parse(f"{a}Mi") < Quantity.parse(f"{b}Mi")) == (a < b)


def test_versions_are_ordered_by_precedence() -> None:
    order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1", "1.2.0", "2.0.0"]
    versions = [Semver.parse(text) for text in order]
    versions.reverse()
    assert sorted(versions) == versions[::-1]
    assert Semver.parse("1.0.0+a") == Semver.parse("1.0.0+b")
    with pytest.raises(NotAQuantity):
        Semver.parse("1.0")
