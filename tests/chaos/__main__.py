"""`python -m tests.chaos`: many seeds in several processes, or one again.

--seeds N [--from BASE]   seeds BASE … BASE+N-1; stops after the first few findings, each with its shortest story
--seed n [--whole]        one seed again, its story shortened (or whole)
"""

import argparse
import logging
import os
import sys

from tests.chaos.hunt import ENOUGH, hunt
from tests.chaos.shrink import find, shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The node side under simulated faults.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, again")
    parser.add_argument("--whole", action="store_true", help="do not shorten its story")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.seed is None:
        found = hunt(options.first, options.seeds, options.processes)
    else:
        one = find(options.seed)
        found = [] if one is None else [one]
        if one is None:
            print(f"seed {options.seed}: nothing is wrong")
    for finding in found[:ENOUGH]:
        print(f"\n{finding if options.whole else shrink(finding)}\nagain: make chaos SEED={finding.story.seed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
