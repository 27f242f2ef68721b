"""What all Kubernetes objects have in common (meta/v1)."""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A part of a Kubernetes object as podvitals reads it: immutable, unknown fields ignored.

    Records form trees, never cycles, so the garbage collector need not know them (`gc=False`): that is 16 bytes less for each."""


class OwnerReference(Record, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Record, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner that manages this object, where there is one."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class Condition(Record, frozen=True, kw_only=True):
    type: str
    status: str = "Unknown"
    """True, False or Unknown."""
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None
    observed_generation: int | None = None


class ObjectReference(Record, frozen=True, kw_only=True):
    """core/v1 ObjectReference: what an Event is about."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    field_path: str = ""
