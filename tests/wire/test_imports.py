import subprocess
import sys

import pytest

HEAVY = ("grpclib", "h2", "google.protobuf", "aiohttp")


@pytest.mark.parametrize("module", ["podvitals", "podvitals.wire.messages", "podvitals.wire.services", "podvitals.wire.endpoint"])
def test_what_the_cores_and_the_command_line_import_is_light(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_podvitals_can_be_loaded_beside_the_upstream_definitions() -> None:
    """An author's own generated code for the kubelet's services has messages named v1.DeviceHealth in the same descriptor pool."""
    script = """
from google.protobuf import descriptor_pb2, descriptor_pool
for package in ("v1", "v1alpha1", "pluginregistration"):
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}/api.proto", package=package, syntax="proto3")
    for message in ("DeviceHealth", "NodeWatchResourcesResponse", "PluginInfo"):
        file.message_type.add(name=message)
    descriptor_pool.Default().Add(file)
from podvitals.wire import convert
print(len(convert.decode_report(b"").devices))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
