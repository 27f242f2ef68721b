"""From a path to what it is about: /api/v1/namespaces/NS/pods/NAME/SUBRESOURCE and /apis/GROUP/VERSION/… Pure."""

from dataclasses import dataclass
from urllib.parse import unquote

from podvitals.lab.api.kinds import BY_PATH, GROUPS, NAMESPACES
from podvitals.lab.api.refusal import Refusal, no_such_path
from podvitals.lab.api.registry import Target

OTHER_VERSIONS = {"resource.k8s.io": "v1", "coordination.k8s.io": "v1"}


@dataclass(frozen=True, slots=True)
class Route:
    """`target` is None for discovery and health, whose path is `words`."""

    words: tuple[str, ...]
    target: Target | None = None


def route(path: str) -> Route:
    """`path` is what follows the secret prefix, still percent-encoded. Refusal 404 for what the lab does not have."""
    words = tuple(unquote(word) for word in path.strip("/").split("/"))
    if words[0] == "api" and len(words) > 2:
        return Route(words, _target("", words[1], words[2:]))
    if words[0] == "apis" and len(words) > 3:
        return Route(words, _target(words[1], words[2], words[3:]))
    return Route(words)


def _target(group: str, version: str, words: tuple[str, ...]) -> Target:
    namespace = ""
    if words[0] == "namespaces" and len(words) > 2 and (group or words[2] != "status"):
        namespace, words = words[1], words[2:]
    elif words[0] == "namespaces" and not group:
        return Target(NAMESPACES, "", words[1] if len(words) > 1 else "", words[2] if len(words) > 2 else "")
    kind = BY_PATH.get((group, version, words[0]))
    if kind is None:
        raise no_such_path() if group not in GROUPS else _other_version(group, version)
    if (namespace and not kind.namespaced) or len(words) > 4:
        raise no_such_path()
    name, subresource = (*words[1:3], "", "")[:2]
    if len(words) == 4 and subresource not in kind.refused:
        raise no_such_path()
    if subresource in kind.refused:
        raise Refusal(501, f"the lab's API server does not serve {kind.plural}/{subresource}: {kind.refused[subresource]}")
    if subresource and subresource not in kind.subresources:
        raise no_such_path()
    return Target(kind, namespace, name, subresource)


def _other_version(group: str, version: str) -> Refusal:
    if version == OTHER_VERSIONS.get(group):
        return no_such_path()
    return Refusal(404, f"the lab's API server serves {group}/{OTHER_VERSIONS[group]} only, not {group}/{version}")
