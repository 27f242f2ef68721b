"""How much one driver may cost. Pure: numbers, their defaults, and why they are what they are.

What goes beyond a limit is refused, counted by reason and said once a minute; nobody else is harmed. Each is a flag of `podvitals agent`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`devices_per_driver`: kept, all sources together; a node with more devices of one kind than this has not been seen.

    `sources_per_driver`: auxiliary ones, beside the driver itself. `endpoints_per_source`: registered at once, as in a rolling update.
    `drivers`: remembered, registered or not.

    `sockets`: registration sockets followed at once; a driver that is connected keeps its place. `directories`: looked into below the
    plugin directory, itself included.

    `remembered_reports`, `remembered_bytes`: of each connection, so that a repetition is recognised by its bytes; a driver that splits
    its state over more messages is read each time."""

    devices_per_driver: int = 8192
    sources_per_driver: int = 8
    endpoints_per_source: int = 8
    drivers: int = 128
    sockets: int = 512
    directories: int = 256
    remembered_reports: int = 8
    remembered_bytes: int = 2 * 1024 * 1024

    @property
    def entries_per_report(self) -> int:
        """Twice the devices that are kept: enough to count what is refused, not enough to hold up the other drivers."""
        return 2 * self.devices_per_driver
