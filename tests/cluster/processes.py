"""Ends whatever a cluster started: every process that carries its mark in the environment, and every mount below its directory.

A pidfile misses what a component started itself (containers), and a `finally` is not run by `kill -9`. So the mark is inherited, and
`python processes.py DIR` waits beside the tests, for the end of its standard input, which is the end of whoever started it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "PODVITALS_TEST_CLUSTER"


def marked(directory: Path) -> list[int]:
    """The processes of the cluster in `directory`."""
    wanted = f"{MARK}={directory}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it ended, or is not ours to look at
    return found


def end(directory: Path) -> None:
    """Kills what is marked, until nothing is, and unmounts what lies below `directory`; bounded."""
    deadline = time.monotonic() + 20
    while (left := marked(directory)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
    # A process that was killed holds its files a moment longer than its environment, and a mount as long as its files.
    while (mounts := _mounts_below(directory)) and time.monotonic() < deadline:
        for mount in mounts:
            subprocess.run(["umount", mount], check=False, stderr=subprocess.DEVNULL)
        time.sleep(0.02)
    for mount in mounts:
        subprocess.run(["umount", "--lazy", mount], check=False)


def _mounts_below(directory: Path) -> list[str]:
    """Innermost first. The kubelet mounts its own root onto itself, and what its pods need below that."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(f"{directory}/")), reverse=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal reaches the whole group: those who started us end first
    root = Path(sys.argv[1])
    sys.stdin.read()
    end(root)
    shutil.rmtree(root, ignore_errors=True)
