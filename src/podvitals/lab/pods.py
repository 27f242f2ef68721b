"""Pods as those see them who run them: what the scheduler and the kubelet read beyond `claim/`, which an agent need not keep in memory.
Pure."""

from typing import Any

from msgspec import field

from podvitals.claim.meta import ObjectMeta, Record
from podvitals.claim.pod import ContainerSpec, Pod, PodSpec
from podvitals.kube.resources import CLAIM_TEMPLATES, PODS, Resource


class FieldRef(Record, frozen=True, kw_only=True):
    field_path: str = ""


class EnvSource(Record, frozen=True, kw_only=True):
    field_ref: FieldRef | None = None
    resource_field_ref: dict[str, Any] | None = None
    config_map_key_ref: dict[str, Any] | None = None
    secret_key_ref: dict[str, Any] | None = None
    file_key_ref: dict[str, Any] | None = None


class EnvVar(Record, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvSource | None = None


class RunnableContainer(ContainerSpec, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[dict[str, Any], ...] = ()
    working_dir: str = ""
    termination_message_path: str = ""


class RunnableSpec(PodSpec, frozen=True, kw_only=True):
    containers: tuple[RunnableContainer, ...] = ()
    init_containers: tuple[RunnableContainer, ...] = ()
    ephemeral_containers: tuple[RunnableContainer, ...] = ()
    termination_grace_period_seconds: int = 30
    scheduler_name: str = "default-scheduler"
    service_account_name: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    affinity: dict[str, Any] | None = None
    scheduling_gates: tuple[dict[str, Any], ...] = ()


class RunnablePod(Pod, frozen=True, kw_only=True):
    spec: RunnableSpec = RunnableSpec()

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class WholeTemplateSpec(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: dict[str, Any] = field(default_factory=dict)


class WholeTemplate(Record, frozen=True, kw_only=True):
    """A ResourceClaimTemplate whose claim spec is kept as it is written: claims are copies of it, with fields this version may not know."""

    metadata: ObjectMeta = ObjectMeta()
    spec: WholeTemplateSpec = WholeTemplateSpec()


RUNNABLE_PODS: Resource[RunnablePod] = Resource(PODS.group, PODS.version, PODS.plural, PODS.kind, RunnablePod, PODS.namespaced)
WHOLE_TEMPLATES: Resource[WholeTemplate] = Resource(
    CLAIM_TEMPLATES.group, CLAIM_TEMPLATES.version, CLAIM_TEMPLATES.plural, CLAIM_TEMPLATES.kind, WholeTemplate, CLAIM_TEMPLATES.namespaced
)
