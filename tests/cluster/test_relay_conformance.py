"""The node suite's cases behind the relay, read from the kubelet's own field: the rows of CONTRACT §5 that are curable are gone."""

from podvitals.kube.client import Client
from podvitals.testing.conformance.case import Outcome, chosen
from podvitals.testing.conformance.node import CASES, try_node
from tests.cluster.cluster import Cluster
from tests.cluster.releases import Shown, needs
from tests.cluster.test_conformance import BUSY, LEFT_OUT
from tests.conformance import places

HEAVY = ("flood", "large-report", "oversized-report")
"""Each takes all a machine has: beside them others are late, and they beside others."""

NOT_CURABLE = {
    "event",
    "init-container",
    "sidecar",
    "same-first-cdi-id",
    "ended-pod-keeps-health",
    "late-fault",
}
"""What the kubelet alone decides: what it writes, and when."""
SOMETIMES = {"changes-50ms-apart", "extended-resource", "same-order"}


@needs(Shown.CLAIM_BY_ITS_NAME, Shown.OWN_DEVICES)
async def test_behind_the_relay_the_kubelets_own_field_is_right_in_time(cluster: Cluster, client: Client) -> None:
    light, heavy = chosen(CASES, (), (*LEFT_OUT, *HEAVY)), chosen(CASES, HEAVY, ())
    async with places.relay(cluster) as place:
        results = await try_node(client, place.settings("field", patience=2.0), light, at_once=12, told=lambda result: None)
        alone = place.settings("field", patience=2.0, soon=BUSY)
        results += await try_node(client, alone, heavy, at_once=1, told=lambda result: None)
    failed = {result.name: result.finding.seen for result in results if result.outcome is Outcome.FAIL}
    assert not failed.keys() - NOT_CURABLE - SOMETIMES, {name: failed[name] for name in failed.keys() - NOT_CURABLE - SOMETIMES}
