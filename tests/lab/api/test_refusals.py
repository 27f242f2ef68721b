"""What is refused, is refused in one sentence that names it; what is wrong, says where."""

import asyncio
from typing import Any

import aiohttp
import pytest

from podvitals.errors import LocalError
from podvitals.lab.api import ApiServer, ApiSettings
from tests.lab.api.plain import CLAIMS, MERGE, PODS, Plain, claim, pod

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


async def message(api: Plain, code: int, method: str, path: str, body: Any = None, **options: str) -> str:
    reply = await api(method, path, body, **options)
    assert reply.code == code, reply.body
    assert reply.body["kind"] == "Status"
    text: str = reply.body["message"]
    return text


async def test_without_the_secret_prefix_there_is_nothing(api: Plain) -> None:
    base, secret = api.server.url.rsplit("/", 1)
    for path in ("/version", "/api/v1/pods", "/", "/healthz", f"/{secret}x/version", f"/{'x' * len(secret)}/version"):
        async with api.session.get(base + path) as response:
            assert response.status == 404
    assert (await api.get("/version"))["major"] == "1"


async def test_the_secret_is_in_no_settings_printed() -> None:
    settings = ApiSettings()
    assert settings.prefix not in repr(settings)
    assert ApiSettings().prefix != settings.prefix


async def test_a_port_in_use_is_named(api: Plain) -> None:
    port = int(api.server.url.split(":")[2].split("/")[0])
    with pytest.raises(LocalError, match=f"127.0.0.1:{port}: another program"):
        await ApiServer(ApiSettings(port=port)).start()


@pytest.mark.parametrize("sub", ["exec", "attach", "portforward", "proxy", "resize"])
async def test_what_the_lab_does_not_do_with_pods_is_named(api: Plain, sub: str) -> None:
    await api.create(PODS, pod("a"))
    assert f"does not serve pods/{sub}" in await message(api, 501, "POST", f"{PODS}/a/{sub}", b"")


async def test_protobuf_is_refused_by_name(api: Plain) -> None:
    text = await message(api, 415, "POST", PODS, b"k8s\x00", kind="application/vnd.kubernetes.protobuf")
    assert "not protobuf bodies" in text
    assert "kubectl apply -f" in text
    assert "JSON only" in await message(api, 406, "GET", PODS, accept="application/vnd.kubernetes.protobuf")


async def test_server_side_apply_is_refused_by_name(api: Plain) -> None:
    assert "keeps no field ownership" in await message(api, 415, "PATCH", f"{PODS}/a", b"{}", kind="application/apply-patch+yaml")


async def test_a_body_that_is_no_json_is_refused(api: Plain) -> None:
    assert "truncated" in await message(api, 400, "POST", PODS, b"{")
    assert "no JSON object" in await message(api, 400, "POST", PODS, [])


async def test_another_version_of_a_group_is_named(api: Plain) -> None:
    text = await message(api, 404, "GET", CLAIMS.replace("/v1/", "/v1beta1/"))
    assert text == "the lab's API server serves resource.k8s.io/v1 only, not resource.k8s.io/v1beta1"


async def test_an_unknown_field_is_refused_or_warned_of_as_asked(api: Plain) -> None:
    body = pod("a")
    body["spec"]["foo"] = 1
    strict = await message(api, 400, "POST", f"{PODS}?fieldValidation=Strict", body)
    assert strict == 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo"'
    reply = await api("POST", f"{PODS}?fieldValidation=Warn", body)
    assert reply.headers["Warning"] == '299 - "unknown field \\"spec.foo\\""'
    assert "foo" not in reply.body["spec"]
    assert "Warning" not in (await api("PUT", f"{PODS}/a?fieldValidation=Ignore", body)).headers
    text = await message(api, 422, "PATCH", f"{PODS}/a?fieldValidation=Strict", {"spec": {"bar": 1}}, kind=MERGE)
    assert 'unknown field "spec.bar"' in text


async def test_a_pod_without_a_command_is_warned_of(api: Plain) -> None:
    body = pod("a")
    del body["spec"]["containers"][0]["command"]
    assert 'give container \\"main\\" a command' in (await api("POST", PODS, body)).headers["Warning"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "main"}]}, "spec.containers[0].image: Required value"),
        ({"containers": [{"name": "A", "image": "x"}]}, "a lowercase RFC 1123 label must consist"),
        ({"containers": [{"name": "a", "image": "x"}] * 2}, 'spec.containers[1].name: Duplicate value: "a"'),
        ({"restartPolicy": "Perhaps"}, 'spec.restartPolicy: Unsupported value: "Perhaps"'),
        ({"resourceClaims": [{"name": "g"}]}, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
        (
            {"containers": [{"name": "a", "image": "x", "resources": {"claims": [{"name": "g"}]}}]},
            'spec.containers[0].resources.claims[0]: Not found: "g": must be one of the names in pod.spec.resourceClaims which is empty',
        ),
    ],
)
async def test_a_wrong_pod_says_where(api: Plain, change: dict[str, Any], text: str) -> None:
    body = pod("a")
    body["spec"] |= change
    assert text in await message(api, 422, "POST", PODS, body)


async def test_a_pods_spec_stays_but_for_its_image(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    made["spec"]["containers"][0]["image"] = "other"
    made = await api.put(f"{PODS}/a", made)
    made["spec"]["nodeName"] = "n1"
    assert "spec: Forbidden: pod updates may not change fields" in await message(api, 422, "PUT", f"{PODS}/a", made)


async def test_a_claims_spec_stays(api: Plain) -> None:
    made = await api.create(CLAIMS, claim("c"))
    made["spec"]["devices"]["requests"][0]["exactly"]["count"] = 2
    assert "field is immutable" in await message(api, 422, "PUT", f"{CLAIMS}/c", made)


async def test_device_names_are_labels_and_unique(api: Plain) -> None:
    spec = {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}}
    for devices, text in (([{"name": "GPU_0"}], "spec.devices[0].name: Invalid value"), ([{"name": "a"}] * 2, 'Duplicate value: "a"')):
        assert text in await message(api, 422, "POST", SLICES, {"metadata": {"name": "s"}, "spec": spec | {"devices": devices}})
    many = [{"name": f"d{at}"} for at in range(129)]
    assert "at most 128 items" in await message(api, 422, "POST", SLICES, {"metadata": {"name": "s"}, "spec": spec | {"devices": many}})


async def test_annotations_have_a_limit_together(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    patch = {"metadata": {"annotations": {"a": "x" * 200_000, "b": "x" * 70_000}}, "status": {"phase": "Running"}}
    text = await message(api, 422, "PATCH", f"{PODS}/a/status", patch, kind=MERGE)
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in text
    assert (await api.get(f"{PODS}/a"))["status"]["phase"] == "Pending"


async def test_a_devices_health_must_name_a_claim_of_the_container(api: Plain) -> None:
    body = pod("a")
    body["spec"]["resourceClaims"] = [{"name": "g", "resourceClaimName": "c"}]
    body["spec"]["containers"][0]["resources"] = {"claims": [{"name": "g"}]}
    await api.create(PODS, body)
    for name, health, text in (("claim:x", "Healthy", "must match one of"), ("claim:g", "Sick", 'Unsupported value: "Sick"')):
        entry = {"name": name, "resources": [{"resourceID": "d/p/g", "health": health}]}
        status = {"containerStatuses": [{"name": "main", "allocatedResourcesStatus": [entry]}]}
        assert text in await message(api, 422, "PATCH", f"{PODS}/a/status", {"status": status}, kind=MERGE)
    good = [{"name": "claim:g", "resources": [{"resourceID": "d/p/g", "health": "Unhealthy", "message": "m"}]}]
    after = await api.patch(f"{PODS}/a/status", {"status": {"containerStatuses": [{"name": "main", "allocatedResourcesStatus": good}]}})
    assert after["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == good


async def test_a_lease_is_updated_by_its_version_and_timed_in_microseconds(api: Plain) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    assert (await api("PUT", f"{LEASES}/l", lease)).code == 201
    assert "must be specified for an update" in await message(api, 422, "PUT", f"{LEASES}/l", lease)
    lease["spec"]["renewTime"] = "2026-01-01T00:00:00Z"
    assert "spec.renewTime" in await message(api, 422, "PATCH", f"{LEASES}/l", lease, kind=MERGE)


async def test_a_method_or_path_nobody_serves_is_refused(api: Plain) -> None:
    assert (await api("GET", "/apis/apps/v1/deployments")).code == 404
    assert (await api("POST", "/api/v1/pods", pod("a"))).code == 405
    assert (await api("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "s"}})).code == 405
    assert (await api("DELETE", f"{PODS}/a/status")).code == 405


async def test_a_body_beyond_the_limit_is_refused(api: Plain) -> None:
    body = pod("a")
    body["metadata"]["annotations"] = {"a": "x" * 4_000_000}
    assert "too large" in await message(api, 413, "POST", PODS, body)


async def test_an_own_fault_is_answered_and_logged(api: Plain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("podvitals.lab.api.registry.validate.created", broken)
    assert "failed on this request" in await message(api, 500, "POST", PODS, pod("a"))
    assert "a bug" in caplog.text
    assert api.server.url.rsplit("/", 1)[1] not in caplog.text


async def test_starting_is_quick() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with ApiServer() as server, aiohttp.ClientSession() as session, session.get(f"{server.url}/readyz") as response:
        assert await response.text() == "ok"
    assert loop.time() - began < 0.5
