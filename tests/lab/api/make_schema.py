"""Makes src/podvitals/lab/api/schema.json from Kubernetes' own OpenAPI: python make_schema.py .../kubernetes/api/openapi-
spec/swagger.json

Kept are names, types, required fields, defaults and patch strategies of all that is reachable from the lab's kinds; descriptions are
not. A field reads `TYPE` + `!` (required) + ` key=K` (lists merged by key K) + ` merge` (lists of scalars merged as sets) + ` retain`
(retainKeys). TYPE: string, int, number, bool, time, quantity, intorstring, any, a definition's name, []TYPE or {}TYPE (a map of
them).
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOTS = [
    *(f"core.v1.{kind}" for kind in ("Namespace", "Node", "Pod", "Event", "ConfigMap", "Secret", "ServiceAccount", "Service", "Binding")),
    "coordination.v1.Lease",
    "policy.v1.Eviction",
    *(f"resource.v1.{kind}" for kind in ("ResourceClaim", "ResourceClaimTemplate", "ResourceSlice", "DeviceClass")),
]
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
}
PLAIN = {"string": "string", "integer": "int", "number": "number", "boolean": "bool", "object": "any"}


def short(name: str) -> str:
    return name.removeprefix("io.k8s.api.").replace("io.k8s.apimachinery.pkg.apis.meta.v1.", "meta.v1.")


def type_of(spec: dict[str, Any], seen: list[str]) -> str:
    if "$ref" in spec:
        full = spec["$ref"].removeprefix("#/definitions/")
        if full in SCALARS:
            return SCALARS[full]
        seen.append(full)
        return short(full)
    if spec.get("type") == "array":
        return "[]" + type_of(spec["items"], seen)
    if "additionalProperties" in spec:
        return "{}" + type_of(spec["additionalProperties"], seen)
    return PLAIN[spec.get("type", "object")]


def field(spec: dict[str, Any], required: bool, seen: list[str]) -> str:
    text = type_of(spec, seen) + ("!" if required else "")
    strategy = spec.get("x-kubernetes-patch-strategy", "").split(",")
    if "merge" in strategy:
        key = spec.get("x-kubernetes-patch-merge-key")
        text += f" key={key}" if key else " merge"
    return text + (" retain" if "retainKeys" in strategy else "")


def main(source: Path) -> None:
    definitions = json.loads(source.read_text())["definitions"]
    todo = [f"io.k8s.api.{root}" for root in ROOTS]
    made: dict[str, dict[str, str]] = {}
    while todo:
        full = todo.pop()
        if short(full) not in made:
            spec = definitions[full]
            required = set(spec.get("required", ()))
            fields = sorted(spec.get("properties", {}).items())
            made[short(full)] = {name: field(value, name in required, todo) for name, value in fields}
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(made.items())]
    target = Path(__file__).parents[3] / "src/podvitals/lab/api/schema.json"
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
