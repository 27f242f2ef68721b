"""Calls: what is sent, what comes back, and each way to fail told in a sentence that helps."""

import asyncio
import json
import socket

import pytest

from podvitals.claim.cluster import Lease, LeaseSpec
from podvitals.claim.meta import ObjectMeta
from podvitals.errors import (
    ApiError,
    ApiUnreachable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import CLAIMS, LEASES, NODES, PODS
from tests.kube.fake import PREFIX, FakeApi, hang, pod, reset, status, text


async def test_an_object_is_got_below_the_server_s_path_prefix(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 7))
    got = await client.get(PODS, "a", "ml")
    assert (got.metadata.uid, got.metadata.resource_version, got.status.phase) == ("uid-a", "7", "Running")
    assert api.requests == [("GET", "/api/v1/namespaces/ml/pods/a", {})]
    assert api.tokens == ["Bearer t0ken"]


async def test_a_list_is_fetched_in_pages_and_starts_a_watch_at_its_version(api: FakeApi, client: Client) -> None:
    api.put(*(pod(f"p{number}", number) for number in range(1, 8)))
    api.page = 3
    listing = await client.list(PODS, fields="spec.nodeName=n1", labels="app=x")
    assert [item.metadata.name for item in listing.items] == [f"p{number}" for number in range(1, 8)]
    assert listing.resource_version == "7"
    asked = {"fieldSelector": "spec.nodeName=n1", "labelSelector": "app=x", "limit": "500"}
    assert [request[2] for request in api.requests] == [asked, asked | {"continue": "3"}, asked | {"continue": "6"}]


async def test_null_lists_are_empty_lists(api: FakeApi, client: Client) -> None:
    whole = pod("a", 1) | {"spec": {"containers": None, "resourceClaims": [{"name": "g", "resourceClaimName": None}], "nodeName": "n"}}
    api.put(whole)
    got = await client.get(PODS, "a", "ml")
    assert (got.spec.containers, got.spec.node_name) == ((), "n")
    assert (await client.list(PODS)).items == [got]


async def test_a_struct_is_created_with_its_version_and_kind(api: FakeApi, client: Client) -> None:
    api.answers.append(text(201, '{"metadata": {"name": "l", "resourceVersion": "2"}, "spec": {"holderIdentity": "n"}}'))
    lease = Lease(metadata=ObjectMeta(name="l", namespace="kube-system"), spec=LeaseSpec(holder_identity="n"))
    got = await client.create(LEASES, lease)
    assert got.spec.holder_identity == "n"
    assert api.requests[0][:2] == ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
    assert json.loads(api.bodies[0][1]) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l", "namespace": "kube-system"},
        "spec": {"holderIdentity": "n"},
    }


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("strategic", "application/strategic-merge-patch+json"),
        ("merge", "application/merge-patch+json"),
        ("json", "application/json-patch+json"),
    ],
)
async def test_a_patch_says_of_which_kind_it_is(api: FakeApi, client: Client, kind: str, content: str) -> None:
    api.put(pod("a", 3))
    await client.patch(PODS, "a", {"metadata": {"uid": "u"}}, "ml", subresource="status", kind=kind)  # type: ignore[arg-type]
    await client.patch(PODS, "a", b'{"status": 1}', "ml", kind=kind)  # type: ignore[arg-type]
    assert api.requests[0][:2] == ("PATCH", "/api/v1/namespaces/ml/pods/a/status")
    assert api.bodies == [(content, b'{"metadata":{"uid":"u"}}'), (content, b'{"status": 1}')]


async def test_a_delete_carries_the_uid_it_means(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 3))
    await client.delete(PODS, "a", "ml", uid="uid-a", grace=0)
    await client.delete(PODS, None, "ml", labels="app=x")
    assert json.loads(api.bodies[0][1])["preconditions"] == {"uid": "uid-a"}
    assert json.loads(api.bodies[0][1])["gracePeriodSeconds"] == 0
    assert api.requests[1] == ("DELETE", "/api/v1/namespaces/ml/pods", {"labelSelector": "app=x"})


async def test_strict_validation_is_asked_for_where_wanted(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 3))
    await client.create(PODS, pod("a", 0), strict=True)
    await client.replace(PODS, "a", pod("a", 3), strict=True)
    assert [request[2] for request in api.requests] == [{"fieldValidation": "Strict"}] * 2
    assert [request[1] for request in api.requests] == ["/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/pods/a"]


async def test_names_cannot_leave_their_place_in_the_path(api: FakeApi, client: Client) -> None:
    api.answers.append(status(404, "NotFound", "no"))
    with pytest.raises(NotFound):
        await client.get(NODES, "../pods/x?watch=1")
    assert api.requests[0][2] == {}
    assert api.requests[0][1] == "/api/v1/nodes/../pods/x?watch=1"  # decoded by the server: one segment on the wire


async def test_whole_objects_are_there_for_those_who_print_them(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 3))
    assert await client.get(PODS.untyped(), "a", "ml") == pod("a", 3)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", Invalid),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (405, "MethodNotAllowed", ApiError),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (500, "InternalError", ServerFault),
        (302, "", ApiError),
    ],
)
async def test_a_refusal_becomes_its_error_with_the_server_s_sentence(
    api: FakeApi, client: Client, code: int, reason: str, error: type[ApiError]
) -> None:
    api.answers.append(status(code, reason, "the server's sentence"))
    with pytest.raises(error) as caught:
        await client.get(CLAIMS, "c", "ml")
    assert (caught.value.status, caught.value.reason) == (code, reason)
    assert str(caught.value) == 'cannot get resourceclaims.resource.k8s.io "c" in namespace "ml": the server\'s sentence'


async def test_403_names_the_missing_permission(api: FakeApi, client: Client) -> None:
    told = (
        'pods "a" is forbidden: User "system:serviceaccount:x:y" cannot patch resource "pods/status" in API group "" in the namespace "ml"'
    )
    api.answers.append(status(403, "Forbidden", told))
    with pytest.raises(Forbidden, match=r'cannot patch pods/status "a" in namespace "ml": .*cannot patch resource "pods/status"'):
        await client.patch(PODS, "a", {}, "ml", subresource="status")


async def test_401_says_to_look_at_the_credentials(api: FakeApi, client: Client) -> None:
    api.answers.append(status(401, "Unauthorized", "Unauthorized"))
    with pytest.raises(Unauthorized, match=r"cannot list pods: .*does not accept the credentials \(401 Unauthorized\): check the user"):
        await client.list(PODS)


async def test_429_and_503_tell_how_long_to_wait(api: FakeApi, client: Client) -> None:
    api.answers.extend(
        [status(429, "TooManyRequests", "later", Retry_After="7"), status(503, "", "starting", Retry_After="3"), status(429)]
    )
    with pytest.raises(TooManyRequests) as busy:
        await client.list(PODS)
    with pytest.raises(ServerFault) as starting:
        await client.list(PODS)
    with pytest.raises(TooManyRequests) as silent:
        await client.list(PODS)
    assert (busy.value.retry_after, starting.value.retry_after, silent.value.retry_after) == (7.0, 3.0, 1.0)


async def test_how_long_to_wait_may_stand_in_the_status_itself(api: FakeApi, client: Client) -> None:
    api.answers.append(
        text(504, '{"kind": "Status", "reason": "Timeout", "message": "m", "details": {"retryAfterSeconds": 4}, "code": 504}')
    )
    with pytest.raises(ServerFault) as caught:
        await client.list(PODS)
    assert caught.value.retry_after == 4.0


async def test_an_answer_that_is_no_status_is_quoted(api: FakeApi, client: Client) -> None:
    api.answers.append(text(502, "<html>bad gateway</html>"))
    with pytest.raises(ServerFault, match="<html>bad gateway</html>"):
        await client.list(PODS)


@pytest.mark.parametrize("body", ['{"items": [{"metadata": 7}]}', "[", '"text"', "\ufeff\x00"])
async def test_an_answer_of_another_shape_is_the_server_s_fault(api: FakeApi, client: Client, body: str) -> None:
    api.answers.append(text(200, body))
    with pytest.raises(ServerFault, match="the Kubernetes API answered"):
        await client.list(PODS)


async def test_nobody_there_is_told_with_the_address_and_without_the_secret_path() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = ClusterConfig(f"http://127.0.0.1:{port}{PREFIX}", source="kubeconfig /x")
    async with Client(config) as client:
        with pytest.raises(ApiUnreachable) as caught:
            await client.list(PODS)
    shown = f"the Kubernetes API at http://127.0.0.1:{port} cannot be reached (kubeconfig /x): connection refused"
    assert str(caught.value) == f"cannot list pods: {shown}"


async def test_a_connection_that_breaks_is_unreachable_for_what_cannot_be_repeated(api: FakeApi, client: Client) -> None:
    api.answers.append(reset)
    with pytest.raises(ApiUnreachable, match=r"the server closed the connection|reset by peer"):
        await client.create(PODS, pod("a", 1))
    assert len(api.requests) == 1


async def test_a_patch_over_a_connection_the_server_just_closed_is_sent_again(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 1))
    await client.get(PODS, "a", "ml")
    api.answers.append(reset)
    assert (await client.patch(PODS, "a", {}, "ml")).metadata.name == "a"
    assert [request[0] for request in api.requests] == ["GET", "PATCH", "PATCH"]


async def test_a_call_without_an_answer_ends_at_its_timeout(api: FakeApi, client: Client) -> None:
    api.answers.append(hang)
    with pytest.raises(ApiUnreachable, match=r"cannot list pods: .* no answer within 0.05 s"):
        await client.list(PODS, timeout=0.05)


async def test_calls_beyond_the_limit_wait_their_turn_and_all_arrive(api: FakeApi) -> None:
    api.put(pod("a", 1))
    async with Client(api.config(), concurrency=3) as client:
        got = await asyncio.gather(*(client.get(PODS, "a", "ml") for _ in range(30)))
    assert len(got) == 30
    assert len(api.connections) <= 3


async def test_small_writes_are_not_held_back_and_dead_peers_are_noticed(api: FakeApi, client: Client) -> None:
    api.put(pod("a", 1))
    await client.get(PODS, "a", "ml")
    assert client._transport._session is not None
    [held] = client._transport._session.connector._conns.values()  # type: ignore[union-attr]
    sock = held[0][0].transport.get_extra_info("socket")  # type: ignore[union-attr]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_raw_gives_the_answer_as_it_came_and_the_same_errors(api: FakeApi, client: Client) -> None:
    api.answers.extend([text(200, "ok"), status(503, "", "shutting down")])
    assert await client.raw("GET", "/readyz", query={"verbose": None}) == b"ok"
    with pytest.raises(ServerFault, match="cannot get /readyz: shutting down"):
        await client.raw("GET", "/readyz")
    assert api.requests[0] == ("GET", "/readyz", {})


async def test_a_client_that_is_not_open_says_so(api: FakeApi) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await Client(api.config()).list(PODS)
