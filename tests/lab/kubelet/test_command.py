"""What a container runs, from its spec."""

from typing import Any

import msgspec
import pytest

from podvitals.lab.kubelet.cdi import Edits
from podvitals.lab.kubelet.command import command_line, expand, problem
from podvitals.lab.pods import RunnableContainer, RunnablePod

POD = msgspec.convert(
    {"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}}, "spec": {"nodeName": "lab"}}, RunnablePod
)


def container(**fields: Any) -> RunnableContainer:
    return msgspec.convert({"name": "main", "command": ["sh"], **fields}, RunnableContainer)


def test_env_comes_from_the_lab_then_the_spec_then_cdi() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$$(A)-$(NOPE)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "DEV", "value": "from spec"},
    ]
    line = command_line(POD, container(env=env, args=["-c", "$(B)"], workingDir="/tmp"), Edits((("DEV", "eth0"),)), {"MARK": "m"})
    assert line.argv == ("sh", "-c", "1-$(A)-$(NOPE)")
    assert line.directory == "/tmp"
    assert dict(line.env) | {"PATH": ""} == {
        "PATH": "",
        "MARK": "m",
        "HOSTNAME": "p",
        "A": "1",
        "B": "1-$(A)-$(NOPE)",
        "NODE": "lab",
        "APP": "x",
        "DEV": "eth0",
    }


def test_a_doubled_dollar_is_one() -> None:
    assert expand("$$ $$(X) $(X) $X", {"X": "v"}) == "$ $(X) v $X"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"command": []}, "no command specified: the lab has no images"),
        ({"envFrom": [{"configMapRef": {"name": "x"}}]}, "envFrom is not supported"),
        ({"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]}, "env S: the lab knows value"),
    ],
)
def test_what_the_lab_cannot_run_is_said(fields: dict[str, Any], says: str) -> None:
    assert says in problem(container(**fields))
    assert problem(container()) == ""
