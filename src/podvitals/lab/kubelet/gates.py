"""The feature gates of the field. Pure."""

from dataclasses import dataclass

from podvitals.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Gates:
    """Upstream's feature gates of the field, both on by default as from 1.36."""

    resource_health_status: bool = True
    resource_health_status_message: bool = True

    @classmethod
    def parse(cls, text: str) -> "Gates":
        """As every Kubernetes component takes them: `ResourceHealthStatus=false,ResourceHealthStatusMessage=true`."""
        fields = {"ResourceHealthStatus": "resource_health_status", "ResourceHealthStatusMessage": "resource_health_status_message"}
        set_to: dict[str, bool] = {}
        for word in filter(None, text.split(",")):
            name, _, value = word.partition("=")
            if name not in fields or value not in ("true", "false"):
                raise InvalidInput(f"feature gate {word!r}: write NAME=true or NAME=false; the lab has {' and '.join(fields)}")
            set_to[fields[name]] = value == "true"
        return cls(**set_to)
