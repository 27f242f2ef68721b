"""`python -m tests.crash_cluster.spawned relay|agent|driver ...`: `podvitals` itself. $PODVITALS_CRASH_TWIN names a refuted relay."""

import os
import sys

from tests.crash_cluster import twins

if __name__ == "__main__":
    if sys.argv[1] == "relay":
        twins.become(os.environ.get(twins.VARIABLE, ""))
    from podvitals.__main__ import podvitals

    podvitals()
