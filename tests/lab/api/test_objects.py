"""Create, read, update, patch, delete: what a client of kube-apiserver expects of each."""

from tests.lab.api.plain import CLAIMS, JSON_PATCH, MERGE, PODS, Plain, claim, pod


async def test_a_created_object_has_a_uid_a_version_and_a_creation_time(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    assert made["metadata"]["uid"]
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert await api.get(f"{PODS}/a") == made


async def test_a_name_is_generated_where_only_its_beginning_is_given(api: Plain) -> None:
    body = pod("x")
    body["metadata"] = {"generateName": "job-"}
    name = (await api.create(PODS, body))["metadata"]["name"]
    assert name.startswith("job-")
    assert len(name) == 9


async def test_a_second_object_of_the_same_name_is_refused(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    reply = await api("POST", PODS, pod("a"))
    assert reply.code == 409
    assert reply.body["reason"] == "AlreadyExists"
    assert reply.body["message"] == 'pods "a" already exists'


async def test_an_update_of_an_older_version_is_a_conflict(api: Plain) -> None:
    first = await api.create(PODS, pod("a"))
    await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}})
    reply = await api("PUT", f"{PODS}/a", first)
    assert reply.code == 409
    assert reply.body["reason"] == "Conflict"
    assert "the object has been modified" in reply.body["message"]


async def test_an_update_that_changes_nothing_makes_no_new_version(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    assert await api.put(f"{PODS}/a", made) == made
    assert await api.patch(f"{PODS}/a", {"metadata": {"labels": None}}, MERGE) == made


async def test_the_main_path_leaves_the_status_alone_and_the_status_path_the_spec(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    changed = made | {"status": {"phase": "Running"}}
    assert (await api.put(f"{PODS}/a", changed))["status"]["phase"] == "Pending"
    changed["spec"] = made["spec"] | {"activeDeadlineSeconds": 5}
    after = await api.put(f"{PODS}/a/status", changed)
    assert after["status"]["phase"] == "Running"
    assert after["spec"] == made["spec"]


async def test_a_namespaces_finalizers_are_not_its_clients(api: Plain) -> None:
    made = await api.create("/api/v1/namespaces", {"metadata": {"name": "ml"}})
    assert made["status"]["phase"] == "Active"
    after = await api.patch("/api/v1/namespaces/ml", {"metadata": {"labels": {"x": "1"}}, "spec": {"finalizers": None}}, MERGE)
    assert after["spec"] == made["spec"] == {"finalizers": ["kubernetes"]}


async def test_a_pods_status_patch_may_carry_annotations_and_a_claims_may_not(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.create(CLAIMS, claim("c"))
    patch = {"metadata": {"annotations": {"podvitals.dev/devices": "x"}}}
    assert (await api.patch(f"{PODS}/a/status", patch))["metadata"]["annotations"] == {"podvitals.dev/devices": "x"}
    assert "annotations" not in (await api.patch(f"{CLAIMS}/c/status", patch))["metadata"]


async def test_a_patch_with_another_uid_is_refused(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    reply = await api("PATCH", f"{PODS}/a/status", {"metadata": {"uid": "other"}}, kind="application/strategic-merge-patch+json")
    assert reply.code == 422
    assert "metadata.uid: Invalid value" in reply.body["message"]


async def test_a_patch_with_an_older_version_is_a_conflict(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}})
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"], "labels": {"x": "2"}}}
    assert (await api("PATCH", f"{PODS}/a", patch, kind=MERGE)).code == 409


async def test_a_json_patch_whose_test_fails_changes_nothing(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    operations = [{"op": "test", "path": "/spec/restartPolicy", "value": "Never"}, {"op": "add", "path": "/metadata/labels", "value": {}}]
    assert (await api("PATCH", f"{PODS}/a", operations, kind=JSON_PATCH)).code == 422
    assert await api.get(f"{PODS}/a") == made


async def test_conditions_are_merged_by_type(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    for kind, status in (("Ready", "True"), ("podvitals.dev/DevicesHealthy", "True"), ("podvitals.dev/DevicesHealthy", "False")):
        after = await api.patch(f"{PODS}/a/status", {"status": {"conditions": [{"type": kind, "status": status}]}})
    found = {each["type"]: each["status"] for each in after["status"]["conditions"]}
    assert found == {"Ready": "True", "podvitals.dev/DevicesHealthy": "False"}


async def test_a_dry_run_answers_and_stores_nothing(api: Plain) -> None:
    reply = await api("POST", f"{PODS}?dryRun=All", pod("a"))
    assert reply.code == 201
    assert (await api("GET", f"{PODS}/a")).code == 404


async def test_an_object_cannot_be_made_in_a_namespace_that_is_not_there(api: Plain) -> None:
    body = pod("a")
    body["metadata"]["namespace"] = "nowhere"
    reply = await api("POST", "/api/v1/namespaces/nowhere/pods", body)
    assert reply.code == 404
    assert reply.body["message"] == 'namespaces "nowhere" not found'
