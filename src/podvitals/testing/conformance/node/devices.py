"""Which device is shown where (CONTRACT §4): names that are not unique, devices that are shared, containers that are special."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from podvitals.errors import ApiError, Invalid
from podvitals.testing.conformance.case import Cases, Failed, Finding, NotApplicable, Skipped
from podvitals.testing.conformance.node.reading import entries, ephemeral, why
from podvitals.testing.conformance.node.sight import EVENTUALLY
from podvitals.testing.conformance.node.stage import FOREVER, Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY

CASES: Cases[Stage] = Cases()

_KEY = "key everything by driver, pool and device together"


@CASES.case(
    "own-devices",
    "A container shows the devices of the requests it uses, and no others of its claim.",
    "CONTRACT §4",
    do="follow resources.claims[].request to the allocation's results",
    stage=1,
)
async def own_devices(stage: Stage) -> str:
    async with stage.driver("d0", "d1") as driver:
        driver.say_all(driver.device("d0", HEALTHY), driver.device("d1", HEALTHY))
        requests = [{"name": name, "exactly": {"deviceClassName": driver.name}} for name in ("a", "b")]
        template = await stage.template({"devices": {"requests": requests}})
        containers = [stage.container(f"uses-{name}", resources={"claims": [{"name": "devices", "request": name}]}) for name in ("a", "b")]
        claims = [{"name": "devices", "resourceClaimTemplateName": template}]
        pod = await stage.pod_with(driver, claims, containers=containers)
        await pod.ready(driver, "d0", "Healthy")
        await pod.ready(driver, "d1", "Healthy")
        found = {name: [e.id for e in entries(pod.newest, stage.settings.reads) if e.container == f"uses-{name}"] for name in ("a", "b")}
        if any(len(ids) != 1 for ids in found.values()) or found["a"] == found["b"]:
            raise Failed(f"container uses-a shows {found['a']}, uses-b {found['b']}")
    return "one of two each"


async def _held_before_main(stage: Stage, command: Sequence[str], **more: Any) -> Finding:
    """A pod whose device an init container holds, and no other."""
    async with stage.driver("d0") as driver:
        driver.say("d0", HEALTHY)
        claims = [{"name": "devices", "resourceClaimTemplateName": await stage.template(stage.claim_spec(driver))}]
        first = stage.container("first", command, resources={"claims": [{"name": "devices"}]}, **more)
        pod = await stage.pod_with(driver, claims, containers=[stage.container("main")], initContainers=[first])
        return await pod.breaks(driver)


@CASES.case(
    "init-container",
    "Devices of init containers are reported too.",
    "CONTRACT §5",
    do="fill status.initContainerStatuses as well",
    stage=1,
)
async def init_container(stage: Stage) -> Finding:
    return await _held_before_main(stage, ["true"])


@CASES.case(
    "sidecar",
    "Devices of sidecars, init containers that go on running, are reported too.",
    "CONTRACT §5",
    do="fill status.initContainerStatuses as well",
    stage=1,
)
async def sidecar(stage: Stage) -> Finding:
    return await _held_before_main(stage, FOREVER, restartPolicy="Always")


@CASES.case(
    "ephemeral-container",
    "An ephemeral container holds no device: one that is added shows none, and the others show theirs as before.",
    "CONTRACT §4",
    do="ask which containers name a claim, and let those be that name none",
    stage=1,
)
async def ephemeral_container(stage: Stage) -> str:
    async with stage.showing(HEALTHY) as (driver, pod):
        since = time.monotonic()
        try:
            await stage.add_ephemeral(pod, "debug")
        except ApiError as error:
            raise NotApplicable(f"this cluster adds no ephemeral container: {error}") from None
        if not await pod.until(lambda state: "debug" in ephemeral(state) or None, EVENTUALLY + stage.settings.patience):
            raise Skipped("the kubelet began no ephemeral container")
        await pod.stays(driver, "d0", "Healthy", since=since, seconds=1.0)
        await pod.breaks(driver)
        holders = [entry.container for entry in entries(pod.newest, stage.settings.reads)]
        if holders != ["main"]:
            raise Failed(f"the device of container main is shown by {', '.join(holders) or 'none'}")
    return "shown by its own container alone, with the ephemeral one running"


@CASES.case(
    "several-drivers",
    "A pod with claims of several drivers shows the devices of each.",
    "CONTRACT §4",
    do=_KEY,
    stage=1,
)
async def several_drivers(stage: Stage) -> Finding:
    async with stage.driver("d0") as first, stage.driver("d0") as second:
        first.say("d0", HEALTHY)
        second.say("d0", HEALTHY)
        claims = [
            {"name": name, "resourceClaimTemplateName": await stage.template(stage.claim_spec(driver))}
            for name, driver in (("one", first), ("two", second))
        ]
        pod = await stage.pod_with(second, claims)
        await pod.ready(first, "d0", "Healthy")
        await pod.ready(second, "d0", "Healthy")
        since = second.say("d0", UNHEALTHY, b"broken")
        found = await pod.due(second, "d0", "Unhealthy", since=since, late=EVENTUALLY)
        await pod.stays(first, "d0", "Healthy", since=since, seconds=1.0)
        # While both drivers run: a kubelet unprepares with each of them.
        await stage.delete_pod(pod)
        return found


@CASES.case(
    "same-name-next-pod",
    "A pod that is deleted and made again under its name shows its own devices, none of its predecessor.",
    "CONTRACT §4",
    do="key what is known of a pod by its uid",
    stage=1,
)
async def next_pod(stage: Stage) -> str:
    async with stage.showing(UNHEALTHY) as (before, first), stage.driver("d0") as after:
        after.say("d0", HEALTHY)
        await stage.delete_pod(first)
        claims = [{"name": "devices", "resourceClaimTemplateName": await stage.template(stage.claim_spec(after))}]
        second = await stage.pod_with(after, claims, name=first.name)
        await second.ready(after, "d0", "Healthy")
        await stage.nudge(second)
        await second.stays(after, "d0", "Healthy", since=time.monotonic(), seconds=2.0)
        if any(entry.id == before.key("d0") for entry in entries(second.newest, stage.settings.reads)):
            raise Failed("it shows the device of the pod that had its name before")
    return "its own device, and Healthy"


@CASES.case(
    "same-first-cdi-id",
    "Devices with the same first CDI id are shown each, or as the worst of them, never as the best.",
    "CONTRACT §5",
    do=_KEY,
    stage=1,
)
async def same_cdi_id(stage: Stage) -> Finding:
    kind = f"podvitals.dev/conformance{stage.namespace.rpartition('-')[2]}"
    file = stage.settings.cdi_dir / f"{kind.replace('/', '-')}.json"
    spec = {"cdiVersion": "0.6.0", "kind": kind, "devices": [{"name": "shared", "containerEdits": {"env": ["CONFORMANCE=1"]}}]}
    try:
        await asyncio.to_thread(file.write_text, json.dumps(spec))
    except OSError as error:
        raise Skipped(f"cannot write {file}: {error.strerror}; --cdi-dir says where CDI files belong") from None
    try:
        async with stage.driver("d0", "d1") as driver:
            driver.cdi = dict.fromkeys(("d0", "d1"), (f"{kind}=shared",))
            driver.say_all(driver.device("d0", HEALTHY), driver.device("d1", HEALTHY))
            pod = await stage.pod(driver, count=2)
            await pod.ready(driver, "d0", "Healthy")
            found = []
            # Either may be the one that a collapsed entry shows, so each is broken in its turn.
            for broken, whole in (("d0", "d1"), ("d1", "d0")):
                report = driver.device(broken, UNHEALTHY, b"broken"), driver.device(whole, HEALTHY)
                found.append(await pod.due(driver, broken, "Unhealthy", since=driver.say_all(*report), late=EVENTUALLY))
                await pod.stays(driver, broken, "Unhealthy", since=time.monotonic(), seconds=1.5)
            return max(found, key=lambda each: each.ms or 0.0)
    finally:
        await asyncio.to_thread(file.unlink, missing_ok=True)


@CASES.case(
    "same-name-other-driver",
    "Never one pod's device on another pod: devices of two drivers may have the same pool and name.",
    "CONTRACT §4",
    do=_KEY,
    stage=1,
)
async def other_driver(stage: Stage) -> str:
    async with stage.showing(HEALTHY) as (ill, first), stage.showing(HEALTHY) as (well, second):
        since = time.monotonic()
        await first.breaks(ill)
        await second.stays(well, "d0", "Healthy", since=since, seconds=2)
        if any(entry.id == ill.key("d0") for entry in entries(second.newest, stage.settings.reads)):
            raise Failed("the other driver's device is shown by a pod that does not hold it")
    return "one pod Unhealthy, the other Healthy"


@CASES.case(
    "reused-device",
    "A device that goes from one pod to the next is shown by the next as it is, though nothing new is said of it.",
    "CONTRACT §4",
    do="keep what is known of a device while no pod holds it",
    stage=1,
)
async def reused(stage: Stage) -> str:
    async with stage.showing(UNHEALTHY) as (driver, first):
        await stage.delete_pod(first)
        second = await stage.pod(driver)
        await second.due(driver, "d0", "Unhealthy", since=time.monotonic(), late=EVENTUALLY)
    return "Unhealthy as soon as the next pod ran"


@CASES.case(
    "shared-claim",
    "Every pod that shares a claim shows its devices.",
    "CONTRACT §4",
    do="ask which pods hold the device, not which pod the claim was made for",
    stage=1,
)
async def shared_claim(stage: Stage) -> Finding:
    async with stage.driver("d0") as driver:
        driver.say("d0", HEALTHY)
        claims = [{"name": "devices", "resourceClaimName": await stage.claim(driver)}]
        first, second = await stage.pod_with(driver, claims), await stage.pod_with(driver, claims)
        await first.ready(driver, "d0", "Healthy")
        await second.ready(driver, "d0", "Healthy")
        since = driver.say("d0", UNHEALTHY, b"broken")
        found = [await pod.due(driver, "d0", "Unhealthy", since=since, late=EVENTUALLY) for pod in (first, second)]
        return max(found, key=lambda each: each.ms or 0.0)


@CASES.case(
    "admin-access",
    "A pod with admin access shows the devices it looks after, which another pod uses.",
    "CONTRACT §4",
    do="take results with adminAccess as any other",
    stage=1,
)
async def admin_access(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, user):
        try:
            template = await stage.template(stage.claim_spec(driver, adminAccess=True))
        except Invalid as error:
            raise NotApplicable(f"this cluster has no admin access: {error}") from None
        admin = await stage.pod_with(driver, [{"name": "devices", "resourceClaimTemplateName": template}])
        await admin.ready(driver, "d0", "Healthy")
        since = driver.say("d0", UNHEALTHY, b"broken")
        found = [await pod.due(driver, "d0", "Unhealthy", since=since, late=EVENTUALLY) for pod in (user, admin)]
        return max(found, key=lambda each: each.ms or 0.0)


@CASES.case(
    "extended-resource",
    "Devices of DRA-backed extended resources are reported (kubernetes#140060).",
    "CONTRACT §5",
    do="follow status.extendedResourceClaimStatus as well",
    stage=1,
)
async def extended_resource(stage: Stage) -> Finding:
    resource = f"conformance.podvitals.dev/{stage.namespace}"
    async with stage.driver("d0", extended=resource) as driver:
        driver.say("d0", HEALTHY)
        container = stage.container("main", resources={"limits": {resource: "1"}, "requests": {resource: "1"}})
        pod = await stage.pod_with(driver, containers=[container], wait=False)
        if not await pod.until(lambda state: state.get("status", {}).get("extendedResourceClaimStatus"), 8.0):
            raise NotApplicable(f"this cluster makes no claim for an extended resource (gate DRAExtendedResource): {why(pod.newest)}")
        await stage.running(pod)
        return await pod.breaks(driver)


@CASES.case(
    "pod-without-devices",
    "A pod that holds no device says nothing of any.",
    "CONTRACT §4",
    do="write only what a pod holds",
    stage=1,
)
async def without_devices(stage: Stage) -> str:
    async with stage.showing(UNHEALTHY) as (driver, _):
        plain = await stage.pod_with(driver, nodeName=stage.settings.node)
        await asyncio.sleep(1.0)
        if found := entries(plain.newest, stage.settings.reads):
            raise Failed(f"it shows {found[0].id}")
    return "nothing is shown"
