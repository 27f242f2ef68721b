"""A device's full name. Kubernetes identifies a device by driver, pool and device together; none of the three is unique alone."""

import re
from typing import NamedTuple

from podvitals.errors import InvalidInput

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class DeviceKey(NamedTuple):
    """(driver, pool, device), the key of everything podvitals keeps about a device."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"

    @classmethod
    def parse(cls, text: str) -> "DeviceKey":
        """`driver/pool/device`; a pool may contain slashes (resource.k8s.io/v1 PoolName: DNS subdomains separated by slashes)."""
        driver, _, rest = text.partition("/")
        pool, _, device = rest.rpartition("/")
        if not (driver and pool and device):
            raise InvalidInput(f"{text!r} is not a device: write driver/pool/device")
        return cls(driver, pool, device)

    def matches(self, tail: str) -> bool:
        """Whether `tail` is this key or a whole-part tail of it: `gpu-3`, `node/gpu-3`, `driver/node/gpu-3`."""
        return f"/{self}".endswith(f"/{tail}")


def check_driver_name(name: str) -> str:
    """A DNS subdomain of at most 63 characters (CSIDriver-style name, resource.k8s.io/v1 ResourceSliceSpec.driver)."""
    if len(name) > 63 or not _SUBDOMAIN.fullmatch(name):
        raise InvalidInput(f"driver name {name!r} is not a DNS subdomain of at most 63 characters, such as gpu.example.com")
    return name


def check_device_name(name: str) -> str:
    """A DNS label of at most 63 characters (resource.k8s.io/v1 Device.name)."""
    if len(name) > 63 or not _LABEL.fullmatch(name):
        raise InvalidInput(f"device name {name!r} is not a DNS label: at most 63 of a-z, 0-9 and '-', not at its ends")
    return name


def check_node_name(name: str) -> str:
    """A DNS subdomain of at most 253 characters (core/v1 Node.metadata.name)."""
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise InvalidInput(f"node name {name!r} is no name of a node: --node-name is the Node object's name")
    return name


def check_pool_name(name: str) -> str:
    """DNS subdomains separated by slashes, at most 253 characters (resource.k8s.io/v1 ResourcePool.name)."""
    if len(name) > 253 or not all(_SUBDOMAIN.fullmatch(part) for part in name.split("/")):
        raise InvalidInput(f"pool name {name!r} is not made of DNS subdomains separated by '/', at most 253 characters")
    return name
