"""Selectors: what parses, what does not, and the sentence that says so (kube-apiserver's own)."""

import pytest

from podvitals.lab.api import selectors
from podvitals.lab.api.kinds import EVENTS, NODES, PODS
from podvitals.lab.api.refusal import Refusal


@pytest.mark.parametrize(
    ("selector", "matching", "failing"),
    [
        ("a=1", [{"a": "1"}], [{}, {"a": "2"}]),
        ("a = 1 , b", [{"a": "1", "b": ""}], [{"a": "1"}]),
        ("a=", [{"a": ""}], [{}, {"a": "1"}]),
        ("a!=1", [{}, {"a": "2"}], [{"a": "1"}]),
        ("!a", [{}], [{"a": ""}]),
        ("a in (1,2)", [{"a": "2"}], [{}, {"a": "3"}]),
        ("a notin (1,2),b=3", [{"b": "3"}, {"a": "3", "b": "3"}], [{"a": "1", "b": "3"}]),
        ("in in (in)", [{"in": "in"}], [{}]),
        ("a>3", [{"a": "4"}], [{"a": "3"}, {}, {"a": "x"}]),
        ("x.y/a=1", [{"x.y/a": "1"}], [{"a": "1"}]),
        ("", [{}, {"a": "1"}], []),
    ],
)
def test_labels(selector: str, matching: list[dict[str, str]], failing: list[dict[str, str]]) -> None:
    matches = selectors.labels(selector)
    assert all(matches({"metadata": {"labels": labels}}) for labels in matching)
    assert not any(matches({"metadata": {"labels": labels}}) for labels in failing)


@pytest.mark.parametrize(
    ("selector", "sentence"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
    ],
)
def test_a_label_selector_that_does_not_parse(selector: str, sentence: str) -> None:
    with pytest.raises(Refusal) as caught:
        selectors.labels(selector)
    assert (caught.value.code, caught.value.message) == (400, sentence)


def test_fields_absent_are_empty_and_absent_switches_are_off() -> None:
    data = {"metadata": {"name": "n"}, "spec": {}}
    assert selectors.fields(PODS, "spec.nodeName=,status.phase!=Failed")(data)
    assert selectors.fields(NODES, "spec.unschedulable=false")(data)
    assert not selectors.fields(NODES, "spec.unschedulable=true")(data)


def test_an_events_source_is_its_component() -> None:
    event = {"metadata": {"name": "e"}, "source": {"component": "kubelet"}}
    assert selectors.fields(EVENTS, "source=kubelet")(event)
    assert not selectors.fields(EVENTS, "source!=kubelet")(event)


def test_a_field_is_known_or_refused() -> None:
    with pytest.raises(Refusal, match="field label not supported"):
        selectors.fields(NODES, "spec.nodeName=x")
    with pytest.raises(Refusal, match="can't understand 'x'"):
        selectors.fields(NODES, "x")
