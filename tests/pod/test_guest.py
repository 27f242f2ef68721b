"""What the kubelet's field tells of devices whose driver is left alone."""

import pytest

from podvitals.claim.pod import AllocatedResourceStatus, ContainerStatus, Pod, PodStatus, ResourceHealth
from podvitals.device.health import Health
from podvitals.pod.guest import kubelet_says
from tests.pod.make import holding


def a_pod(**resources: str) -> Pod:
    said = tuple(ResourceHealth(resource_id=name.replace("__", "/").replace("_", "="), health=health) for name, health in resources.items())
    status = ContainerStatus(name="train", allocated_resources_status=(AllocatedResourceStatus(name="claim:gpus", resources=said),))
    return Pod(status=PodStatus(container_statuses=(status,)))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"v__gpu_a": "Unhealthy"}, Health.UNHEALTHY),
        ({"v__gpu_a": "Healthy", "v__gpu_b": "Healthy"}, Health.HEALTHY),
        ({"v__gpu_a": "Healthy", "v__gpu_b": "Unhealthy"}, Health.UNKNOWN),
        ({"v__gpu_gpu0": "Healthy", "v__gpu_b": "Unhealthy"}, Health.HEALTHY),
        ({"v__gpu_a": "Purple"}, Health.UNKNOWN),
        ({}, Health.UNKNOWN),
    ],
)
def test_the_field_is_believed_only_where_it_says_which_device_it_means(resources: dict[str, str], expected: Health) -> None:
    assert kubelet_says(a_pod(**resources), holding("gpu0")).health is expected


def test_an_init_container_of_which_the_kubelet_says_nothing_does_not_hide_what_it_says_of_the_same_claim() -> None:
    told = a_pod(v__gpu_a="Unhealthy")
    assert kubelet_says(told, holding("gpu0", container="warm-up")).health is Health.UNHEALTHY
    assert kubelet_says(told, holding("gpu0", container="warm-up", entry="claim:others")).health is Health.UNKNOWN


def test_one_healthy_resource_for_two_devices_may_hide_a_broken_one() -> None:
    assert kubelet_says(a_pod(v__gpu_a="Healthy"), holding("gpu0"), devices=2).health is Health.UNKNOWN
    assert kubelet_says(a_pod(v__gpu_a="Unhealthy"), holding("gpu0"), devices=2).health is Health.UNHEALTHY
    assert kubelet_says(a_pod(v__gpu_a="Healthy", v__gpu_b="Healthy"), holding("gpu0"), devices=2).health is Health.HEALTHY


def test_a_container_without_a_status_is_unknown() -> None:
    assert kubelet_says(Pod(), holding("gpu0")).health is Health.UNKNOWN
