"""The table of docs/conformance.md, as measured: the node suite's cases against each node side, a column each.

    python -m tests.conformance.table [--only CASE ...] [--columns lab,agent-lab,agent,kubelet,nudged,relayed] [--patience SECONDS]
                                      [--results FILE] [--print]

Needs root and, for the real kubelet, Go (the release is the cluster suite's: K8S=1.37.2). Writes the page unless --print is given."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podvitals.device.text import clean
from podvitals.testing.conformance.case import Case, NotApplicable, Outcome, Result, chosen
from podvitals.testing.conformance.node import CASES, Stage, try_node
from podvitals.testing.conformance.node.reading import Reads
from podvitals.testing.conformance.report import milliseconds, summary
from tests.cluster.build import DEFAULT_VERSION
from tests.cluster.cluster import Cluster
from tests.conformance import pages, places

VERSION = os.environ.get("K8S", DEFAULT_VERSION)
DEPLOY = Path(__file__).parents[2] / "deploy"


@dataclass(frozen=True)
class Column:
    """A node side. `agent`: whether one runs, which on a real node is started for the column; it is what restarts where `reads` is the
    condition, else the kubelet does. `relay`: whether drivers register with one."""

    name: str
    title: str
    real: bool
    reads: Reads
    agent: bool
    relay: bool = False


COLUMNS = (
    Column("lab", "the lab's kubelet: field", False, "field", True),
    Column("agent-lab", "agent in the lab: condition", False, "condition", True),
    Column("agent", f"agent beside kubelet {VERSION}: condition", True, "condition", True),
    Column("kubelet", f"kubelet {VERSION} alone: field", True, "field", False),
    Column("nudged", f"kubelet {VERSION} with the agent beside it: field", True, "field", True),
    Column("relayed", f"kubelet {VERSION} behind the relay: field", True, "field", False, relay=True),
)
"""In the order of the page. A further node side is a further line."""

Results = Mapping[str, Mapping[str, Result]]


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    made = await asyncio.to_thread(Cluster(VERSION).up)
    try:
        for rights in sorted(DEPLOY.glob("*-rbac.yaml")):
            await asyncio.to_thread(made.run_kubectl, "apply", "-f", str(rights))
        yield made
    finally:
        await asyncio.to_thread(made.down)


async def measure(columns: Sequence[Column], cases: Sequence[Case[Stage]], patience: float) -> dict[str, dict[str, Result]]:
    """By column and case. One cluster for all columns of a kind; each column with nobody else about."""
    results = {}
    for real in (False, True):
        mine = [column for column in columns if column.real is real]
        if not mine:
            continue
        async with AsyncExitStack() as stack:
            made = await stack.enter_async_context(cluster()) if real else None
            found = None if real else stack.enter_context(places.lab())
            for column in mine:
                print(f"\n{column.title}", file=sys.stderr, flush=True)
                results[column.name] = await _column(column, made, found, cases, patience)
    return results


async def _column(
    column: Column, made: Cluster | None, lab: tuple[places.Place, places.Restart] | None, cases: Sequence[Case[Stage]], patience: float
) -> dict[str, Result]:
    async with AsyncExitStack() as stack:
        restart: places.Restart | None
        if lab is not None:
            place, restart = lab[0], lab[1] if column.reads == "condition" else _not_alone
        else:
            assert made is not None
            place, cluster = await stack.enter_async_context(places.relay(made)) if column.relay else places.real(made), made
            restart_agent = await stack.enter_async_context(places.agent(made)) if column.agent else None
            restart = restart_agent if column.reads == "condition" else lambda: asyncio.to_thread(cluster.restart_kubelet)
        client = await stack.enter_async_context(place.client())
        found = await try_node(client, place.settings(column.reads, patience=patience, restart=restart), cases, at_once=10, told=_told)
    print(summary(found), file=sys.stderr, flush=True)
    return {result.name: result for result in found}


async def _not_alone() -> None:
    raise NotApplicable("the lab's kubelet is one process with its API server, and restarts with its cluster")


def _told(result: Result) -> None:
    took = milliseconds(result.finding.ms)
    print(f"  {result.name:28} {result.outcome:15} {took:9} {clean(result.finding.seen, 120)}", file=sys.stderr, flush=True)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_MARKS = {Outcome.PASS: "pass", Outcome.FAIL: "**fail**", Outcome.WARN: "warn", Outcome.SKIP: "not tried", Outcome.NOT_APPLICABLE: "n/a"}


def cell(result: Result | None) -> str:
    if result is None:
        return ""
    ms = result.finding.ms
    took = milliseconds(None if ms is None else abs(ms))
    if result.outcome is Outcome.FAIL and ms is not None:
        took += " late" if ms > 0 else " early"
    return _MARKS[result.outcome] + (f", {took}" if took else "")


def page(columns: Sequence[Column], cases: Sequence[Case[Stage]], results: Results) -> str:
    lines = ["| case | " + " | ".join(column.title for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| `{case.name}` | " + " | ".join(cell(results[column.name].get(case.name)) for column in columns) + " |" for case in cases]
    totals = [f"{sum(result.outcome is Outcome.PASS for result in results[column.name].values())} pass" for column in columns]
    lines += [f"| **of {len(cases)}** | " + " | ".join(totals) + " |", ""]
    for column in columns:
        # What is only late stands in the table.
        not_passed = [result for result in results[column.name].values() if result.outcome is not Outcome.PASS]
        if told := [result for result in not_passed if result.finding.ms is None]:
            lines += [f"What was seen of {column.title}:", ""]
            lines += [f"* `{result.name}` ({_MARKS[result.outcome].strip('*')}): {clean(result.finding.seen, 240)}" for result in told]
            lines += [""]
    return "\n".join(lines)


def kept(file: Path) -> dict[str, dict[str, Result]]:
    return msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, Result]]) if file.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--columns", default=",".join(column.name for column in COLUMNS))
    parser.add_argument("--patience", type=float, default=90.0, help="seconds waited for what is late")
    parser.add_argument("--print", action="store_true", help="print the table, leave the page")
    parser.add_argument("--results", type=Path, help="keeps the results: columns not measured now are taken from this file")
    options = parser.parse_args()
    wanted = options.columns.split(",")
    columns, cases = [column for column in COLUMNS if column.name in wanted], chosen(CASES, options.only)
    results: dict[str, dict[str, Result]] = kept(options.results) if options.results else {}
    results |= asyncio.run(measure(columns, cases, options.patience))
    if options.results:
        options.results.write_bytes(msgspec.json.encode(results))
    table = page([column for column in COLUMNS if column.name in results], cases, results)
    if options.print:
        print(table)
    else:
        pages.PAGE.write_text(pages.replaced(pages.PAGE.read_text(), *pages.TABLE, table))


if __name__ == "__main__":
    main()
