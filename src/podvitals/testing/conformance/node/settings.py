"""What the node suite is told: where the node side is, how its pods are read, and how patient a case is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from podvitals.testing.conformance.node.reading import Reads


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`reads`: where the health of a pod's devices is looked for. `patience`: seconds a case waits beyond what is due, to see how late it
    is; `begins`: how long for the state it begins with. `soon`: seconds that count as at once (a PATCH and a watch take 7 ms; a
    busy machine more). `restart`: restarts the node side; None where nobody knows how. `image`: for the
    pods' containers."""

    plugin_dir: Path
    node: str
    reads: Reads = "field"
    cdi_dir: Path = Path("/var/run/cdi")
    image: str = "busybox:stable"
    patience: float = 10.0
    restart: Callable[[], Awaitable[None]] | None = None
    begins: float = 15.0
    soon: float = 1.0
