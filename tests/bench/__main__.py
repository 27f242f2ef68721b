"""`python -m tests.bench [--only NAMES] [--quick] [--json]`: what podvitals costs and how fast it is, as one table (make bench).

On the lab by default; CLUSTER=1 on a real Kubernetes (K8S picks the release), which needs root and Go.
"""

import argparse
import asyncio
import compileall
import os
import sys
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.curve import draw
from tests.bench.page import Page
from tests.bench.plan import PARTS, QUICK, Plan, Sizes
from tests.bench.subject import REPOSITORY
from tests.bench.table import render, render_json
from tests.cluster.build import DEFAULT_VERSION


def main() -> None:
    listed = "\n".join(f"  {name:<11} {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, epilog=f"names:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--quick", action="store_true", help="few samples: whether it works, not how fast it is")
    parser.add_argument("--only", metavar="NAMES", default="", help="these rows alone, by name, with commas between")
    parser.add_argument("--into", metavar="FILE", type=Path, help="also write the rows into the table of this page (docs/benchmarks.md)")
    given = parser.parse_args()
    chosen = frozenset(filter(None, given.only.split(","))) or frozenset(PARTS)
    if unknown := sorted(chosen - PARTS.keys()):
        parser.error(f"there are no rows {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        page = None if given.into is None else Page(given.into)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    plan = Plan(chosen, QUICK if given.quick else Sizes(), real=os.environ.get("CLUSTER") == "1")
    bench = Bench(plan, os.environ.get("K8S", DEFAULT_VERSION), lambda text: print(f"bench: {text}", file=sys.stderr, flush=True))
    # As an installed package has it: without, each start of a process would be the compiler's time and memory.
    compileall.compile_dir(REPOSITORY / "src", quiet=2)
    asyncio.run(bench.run())
    if page is not None:
        page.put(bench.rows)
    if given.json:
        print(render_json(bench.rows))
    else:
        print("\n\n".join(filter(None, (render(bench.rows), draw(bench.rows)))))


if __name__ == "__main__":
    main()
