"""The public test kit for drivers and for whatever watches them: real servers and clients on real sockets, and a clock moved by hand.

    async with FakeKubelet(directory) as kubelet, driver.serving(kubelet):
        await kubelet.sees("t1", Health.UNHEALTHY)

Knows no test framework: what is not seen in time is an AssertionError that says what was seen instead. Nothing here sleeps to wait; every
wait ends by an event or by its timeout. Give short directories: a socket's path has 107 bytes.

`conformance/` tries drivers and node sides of others by the sentences of the contract; it is what `podvitals conformance` runs.
"""

from podvitals.testing.clock import ManualClock
from podvitals.testing.driver import FakeDriver
from podvitals.testing.gate import Gate
from podvitals.testing.kubelet import FakeKubelet

__all__ = ["FakeDriver", "FakeKubelet", "Gate", "ManualClock"]
