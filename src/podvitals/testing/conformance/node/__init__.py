"""The suite for node sides: a scripted driver, real pods, and what the API then says of their devices."""

from collections.abc import Callable, Sequence

from podvitals.kube.client import Client
from podvitals.testing.conformance.case import Case, Result
from podvitals.testing.conformance.execute import execute
from podvitals.testing.conformance.node import devices, endpoints, hostile, leases, pods, restarts, told
from podvitals.testing.conformance.node.settings import NodeSettings
from podvitals.testing.conformance.node.stage import Stage

__all__ = ["CASES", "NodeSettings", "Stage", "try_node"]

CASES: tuple[Case[Stage], ...] = tuple(
    case for part in (told, leases, endpoints, devices, pods, hostile, restarts) for case in part.CASES.all
)

LIMIT = 120.0
"""Seconds a case may take beside its patience."""
AT_ONCE = 8


async def try_node(
    client: Client, settings: NodeSettings, cases: Sequence[Case[Stage]], *, at_once: int = AT_ONCE, told: Callable[[Result], None]
) -> list[Result]:
    """Sets the stage, runs the cases and takes the stage down again, whatever happened."""
    async with Stage.open(client, settings) as stage:
        return await execute(cases, stage, limit=LIMIT + settings.patience, at_once=at_once, told=told)
