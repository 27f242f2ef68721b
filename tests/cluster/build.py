"""Builds the real Kubernetes that the suite runs against: one binary from Go modules, kept in the user's cache.

    python -m tests.cluster.build [VERSION ...]        prints the paths; needs no package, not even podvitals

Cold it takes 6 to 8 minutes on 2 cores, warm about 15 s, from the cache nothing. Only a Go toolchain is needed.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "kubernetes"
DEFAULT_VERSION = "1.37.2"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "runtime", "kubelet", "kubectl", "driver")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podvitals"
HELPER_HAS_HEALTH = 37
"""The first minor release whose helper for drivers lets them report health."""


class BuildFailed(Exception):
    """The message holds the end of what Go said."""


def cached(version: str) -> Path:
    """Where the binary of a release lies, built or not; a change in our Go sources makes another name."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.go")))).hexdigest()[:12]
    return CACHE / "kubernetes" / version / f"kubernetes-{digest}"


def build(version: str = DEFAULT_VERSION) -> Path:
    """The binary of a release, built if it is not there yet; a second caller waits for the first."""
    binary = cached(version)
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        raise BuildFailed("a real Kubernetes is built from source: install Go 1.26 or newer")
    binary.parent.mkdir(parents=True, exist_ok=True)
    with open(binary.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            print(f"building Kubernetes {version} (minutes, once) into {binary}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="podvitals-build-") as work:
                _build(version, Path(work), binary)
            for old in binary.parent.glob("kubernetes-*"):
                if old != binary:
                    old.unlink()
    return binary


def _build(version: str, work: Path, binary: Path) -> None:
    for source in SOURCES.glob("*.go"):
        shutil.copy(source, work)
    kubernetes = f"k8s.io/kubernetes@v{version}"
    manifest = work / "go.mod"
    manifest.write_text(f"module podvitals.test/kubernetes\n\ngo 1.26.0\n\nrequire {kubernetes.replace('@', ' ')}\n\n")
    downloaded = Path(json.loads(go(work, "mod", "download", "-json", kubernetes))["Dir"])
    # A module's own `replace` lines do not reach those who depend on it: pin the published staging modules of the same release.
    staging = re.findall(r"^\s*(?:replace )?(k8s\.io/\S+) => \./staging", (downloaded / "go.mod").read_text(), re.MULTILINE)
    with manifest.open("a") as file:
        file.writelines(f"replace {module} => {module} v0.{version.removeprefix('1.')}\n" for module in staging)
    go(work, "mod", "tidy", "-e")
    minor = version.split(".")[1]
    stamp = {"gitVersion": f"v{version}", "gitMajor": "1", "gitMinor": minor}
    flags = "-s -w " + " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items())
    partial = binary.with_suffix(".partial")
    tags = ["-tags", "health"] if int(minor) >= HELPER_HAS_HEALTH else []
    go(work, "build", "-mod=mod", "-trimpath", *tags, "-ldflags", flags, "-o", str(partial), ".")
    partial.rename(binary)


def go(work: Path, *arguments: str) -> str:
    done = subprocess.run(["go", *arguments], cwd=work, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"go {' '.join(arguments[:2])} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return done.stdout


def link(binary: Path, into: Path) -> None:
    """A link named after each component, which is how the binary knows what to be."""
    into.mkdir(parents=True, exist_ok=True)
    for component in COMPONENTS:
        (into / component).symlink_to(binary)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [DEFAULT_VERSION]:
        print(build(wanted), flush=True)
