"""The rules of pods: what a spec must hold, what of it may change, what a status may say. Pure; sentences are upstream's."""

from collections.abc import Iterator

from podvitals.lab.api.names import name_fault
from podvitals.lab.api.refusal import Fault, forbidden, invalid, required
from podvitals.lab.api.schema import Body

FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
TERMINATED = "may not be transitioned to non-terminated state"
ONE_OF = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
BAD_ENTRY = (
    "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request "
    "is set or 'claim:<claimName>' when it is empty"
)
CHOICES = {
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
}
HEALTHS = ("Healthy", "Unhealthy", "Unknown")


def spec(pod: Body) -> list[Fault]:
    """A new pod's spec."""
    return [*_choices(pod), *_containers(pod), *_ephemeral(pod), *_claims(pod)]


def _choices(pod: Body) -> Iterator[Fault]:
    for field, allowed in CHOICES.items():
        if pod.get(field) not in allowed:
            shown = ", ".join(f'"{value}"' for value in allowed)
            yield Fault(f"spec.{field}", f'Unsupported value: "{pod.get(field)}": supported values: {shown}', "FieldValueNotSupported")


def _containers(pod: Body) -> Iterator[Fault]:
    if pod.get("containers") == []:  # where there is no such field, that is said already
        yield required("spec.containers")
    seen: set[str] = set()
    for part in ("initContainers", "containers"):
        for at, container in enumerate(pod.get(part, ())):
            path, name = f"spec.{part}[{at}]", container.get("name", "")
            if name and (fault := name_fault(f"{path}.name", name, label=True)):
                yield fault
            if name in seen:
                yield Fault(f"{path}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
            seen.add(name)
            if not container.get("image"):
                yield required(f"{path}.image")
            yield from _claim_references(pod, container, path)


def _ephemeral(pod: Body) -> Iterator[Fault]:
    """They come later, by a subresource."""
    if pod.get("ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")
        yield from _of_ephemeral(pod)


def ephemeral(new: Body, old: Body) -> list[Fault]:
    """The subresource: containers are added, and none that was goes or changes."""
    faults, now = [], {container.get("name"): container for container in new.get("ephemeralContainers", ())}
    for container in old.get("ephemeralContainers", ()):
        if now.get(container["name"]) != container:
            done = "changed" if container["name"] in now else "removed"
            faults.append(forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{container["name"]}" may not be {done}'))
    return [*faults, *_of_ephemeral(new)]


def _of_ephemeral(pod: Body) -> Iterator[Fault]:
    seen = {container.get("name") for part in ("containers", "initContainers") for container in pod.get(part, ())}
    targets = sorted(str(name) for name in seen)
    for at, container in enumerate(pod.get("ephemeralContainers", ())):
        path, name, target = f"spec.ephemeralContainers[{at}]", container.get("name", ""), container.get("targetContainerName", "")
        if name and (fault := name_fault(f"{path}.name", name, label=True)):
            yield fault
        if name in seen:
            yield Fault(f"{path}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
        seen.add(name)
        if not container.get("image"):
            yield required(f"{path}.image")
        if container.get("resources"):
            yield forbidden(f"{path}.resources", "cannot be set for an Ephemeral Container")
        if target and target not in targets:
            yield Fault(f"{path}.targetContainerName", f'Not found: "{target}"', "FieldValueNotFound")


def _claim_references(pod: Body, container: Body, path: str) -> Iterator[Fault]:
    known = {claim.get("name") for claim in pod.get("resourceClaims", ())}
    for at, claim in enumerate(container.get("resources", {}).get("claims", ())):
        if claim.get("name") and claim["name"] not in known:
            among = "which is empty" if not known else f"({', '.join(sorted(str(name) for name in known))})"
            message = f'Not found: "{claim["name"]}": must be one of the names in pod.spec.resourceClaims {among}'
            yield Fault(f"{path}.resources.claims[{at}]", message, "FieldValueNotFound")


def _claims(pod: Body) -> Iterator[Fault]:
    names = [claim.get("name", "") for claim in pod.get("resourceClaims", ())]
    for at, claim in enumerate(pod.get("resourceClaims", ())):
        path = f"spec.resourceClaims[{at}]"
        if names.index(names[at]) != at:
            yield Fault(f"{path}.name", f'Duplicate value: "{names[at]}"', "FieldValueDuplicate")
        elif names[at] and (fault := name_fault(f"{path}.name", names[at], label=True)):
            yield fault
        if ("resourceClaimName" in claim) == ("resourceClaimTemplateName" in claim):
            yield invalid(path, claim, ONE_OF)


def updated_spec(new: Body, old: Body) -> list[Fault]:
    if any(len(new.get(part, ())) != len(old.get(part, ())) for part in ("containers", "initContainers")):
        return [forbidden("spec.containers", "pod updates may not add or remove containers")]
    return [] if _comparable(new, old) == _comparable(old, old) else [forbidden("spec", FROZEN)]


def _comparable(spec: Body, old: Body) -> Body:
    """The spec without what an update may change."""
    kept = {name: value for name, value in spec.items() if name not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")}
    for part in ("containers", "initContainers"):
        kept[part] = [{name: value for name, value in container.items() if name != "image"} for container in spec.get(part, ())]
    if spec.get("terminationGracePeriodSeconds") == 1 and old.get("terminationGracePeriodSeconds", 0) < 0:
        kept["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    kept["lost tolerations"] = [each for each in old.get("tolerations", ()) if each not in spec.get("tolerations", ())]
    kept["new gates"] = [each for each in spec.get("schedulingGates", ()) if each not in old.get("schedulingGates", ())]
    return kept


def status(new: Body, old: Body) -> list[Fault]:
    """A status written over `old`."""
    faults = [*_transitions(new, old), *_claim_statuses(new)]
    qos = new["status"].get("qosClass")
    if qos != old.get("status", {}).get("qosClass", qos):
        faults.append(invalid("status.qosClass", qos, "field is immutable"))
    for part, containers in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
        specs = {container["name"]: container for container in new["spec"].get(containers, ())}
        for at, container in enumerate(new.get("status", {}).get(part, ())):
            faults += _allocated(container, specs.get(container.get("name")), f"status.{part}[{at}]")
    return faults


def _transitions(new: Body, old: Body) -> Iterator[Fault]:
    policy = old["spec"].get("restartPolicy", "Always")
    states = {each.get("name"): each.get("state", {}) for each in new.get("status", {}).get("containerStatuses", ())}
    for at, container in enumerate(old.get("status", {}).get("containerStatuses", ())):
        ended = container.get("state", {}).get("terminated")
        if ended is None or policy == "Always" or (policy == "OnFailure" and ended.get("exitCode")):
            continue
        if container["name"] in states and "terminated" not in states[container["name"]]:
            yield forbidden(f"status.containerStatuses[{at}].state", TERMINATED)


def _claim_statuses(new: Body) -> Iterator[Fault]:
    known = {claim["name"] for claim in new["spec"].get("resourceClaims", ())}
    for at, entry in enumerate(new.get("status", {}).get("resourceClaimStatuses", ())):
        if entry.get("name") not in known:
            path = f"status.resourceClaimStatuses[{at}].name"
            yield invalid(path, entry.get("name", ""), "must match the name of an entry in `spec.resourceClaims`")


def _allocated(container: Body, declared: Body | None, path: str) -> Iterator[Fault]:
    for at, entry in enumerate(container.get("allocatedResourcesStatus", ())):
        here = f"{path}.allocatedResourcesStatus[{at}]"
        if declared is not None and not _declares(declared, entry.get("name", "")):
            yield invalid(f"{here}.name", entry.get("name", ""), BAD_ENTRY)
        seen: set[str] = set()
        for index, resource in enumerate(entry.get("resources", ())):
            each, found = f"{here}.resources[{index}]", resource.get("resourceID", "")
            if resource.get("health") not in HEALTHS:
                allowed = ", ".join(f'"{health}"' for health in HEALTHS)
                message = f'Unsupported value: "{resource.get("health", "")}": supported values: {allowed}'
                yield Fault(f"{each}.health", message, "FieldValueNotSupported")
            if len(resource.get("message", "").encode()) > 1024:
                yield Fault(f"{each}.message", "Too long: may not be more than 1024 bytes", "FieldValueTooLong")
            if found in seen:
                yield Fault(f"{each}.resourceID", f'Duplicate value: "{found}"', "FieldValueDuplicate")
            seen.add(found)


def _declares(container: Body, entry: str) -> bool:
    resources = container.get("resources", {})
    if not entry.startswith("claim:"):
        return entry in resources.get("requests", {})
    names = {f"claim:{claim['name']}" + (f"/{claim['request']}" if claim.get("request") else "") for claim in resources.get("claims", ())}
    return entry in names


def warnings(pod: Body) -> list[str]:
    """A cluster would run the image's own command; the lab has no images, and whoever applies the manifest should hear it at once."""
    lacking = [container["name"] for container in [*pod.get("initContainers", ()), *pod["containers"]] if not container.get("command")]
    if not lacking:
        return []
    named = ", ".join(f'"{name}"' for name in lacking)
    return [f"the lab runs containers as processes and has no images: give container {named} a command, or it will not start"]
