"""The feature gates, as a Kubernetes component takes them."""

import pytest

from podvitals.errors import InvalidInput
from podvitals.lab.kubelet.gates import Gates


def test_gates_are_named_and_set() -> None:
    assert Gates.parse("") == Gates(True, True)
    assert Gates.parse("ResourceHealthStatusMessage=false") == Gates(True, False)
    assert Gates.parse("ResourceHealthStatus=false,ResourceHealthStatusMessage=true") == Gates(False, True)


@pytest.mark.parametrize("text", ["ResourceHealthStatus", "Nonsense=true", "ResourceHealthStatus=1"])
def test_a_gate_that_is_none_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(InvalidInput, match="the lab has ResourceHealthStatus and ResourceHealthStatusMessage"):
        Gates.parse(text)
