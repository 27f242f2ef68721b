"""Who is on stage: a node, two drivers whose devices have the same names, and an auxiliary source for one of them."""

from podvitals.device.key import DeviceKey
from podvitals.node.record import SourceKey

NODE = POOL = "node-1"
NAMESPACE = "ml"
GPU = SourceKey("gpu.example.com")
NIC = SourceKey("nic.example.com")
XID = SourceKey("gpu.example.com", "xid")
SOURCES = (GPU, NIC, XID)
DEVICES = ("d0", "d1", "d2")
KEYS = tuple(DeviceKey(driver, POOL, device) for driver in (GPU.driver, NIC.driver) for device in DEVICES)
WALL = 1_800_000_000.25
"""Unix time at true time 0, for whoever has a right clock."""
START = 5_000.0
"""True time when a story begins; the machine was booted at 0."""
SLOTS = 3
"""Processes of one source that may be registered side by side."""
