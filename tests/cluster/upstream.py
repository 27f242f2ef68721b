"""Builds the driver of drivers/upstream, which is made with upstream's helper, and keeps it in the user's cache. Needs Go.

python -m tests.cluster.upstream        prints the path"""

import fcntl
import hashlib
import shutil
import tempfile
from pathlib import Path

from tests.cluster.build import DEFAULT_VERSION, _go, cached

SOURCES = Path(__file__).parent / "drivers" / "upstream"
MODULES = ("k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go", "k8s.io/dynamic-resource-allocation")


def driver(version: str = DEFAULT_VERSION) -> Path:
    """The binary, built if it is not there yet (seconds, once Kubernetes itself was built); the helper of 1.37 or later."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.go")))).hexdigest()[:12]
    binary = cached(version).parent.parent / f"upstream-driver-{version}-{digest}"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with open(binary.parent / "upstream-driver.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            with tempfile.TemporaryDirectory(prefix="podvitals-build-") as work:
                _build(Path(work), version, binary)
    return binary


def _build(work: Path, version: str, binary: Path) -> None:
    for source in SOURCES.glob("*.go"):
        shutil.copy(source, work)
    modules = "".join(f"require {module} v0.{version.removeprefix('1.')}\n" for module in MODULES)
    (work / "go.mod").write_text(f"module podvitals.test/driver\n\ngo 1.26.0\n\n{modules}")
    _go(work, "mod", "tidy")
    partial = binary.with_suffix(".partial")
    _go(work, "build", "-mod=mod", "-trimpath", "-o", str(partial), ".")
    partial.rename(binary)


if __name__ == "__main__":
    print(driver())
