"""Guards that hold for every test: no task left behind, no blocking call inside the event loop, warnings are errors (pyproject.toml)."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# A machine that is busy with something else makes an example slow, not wrong.
settings.register_profile("podvitals", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podvitals")

# A shell that starts the tests in the background has SIGINT ignored, and so would have every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a good part of the time of a test is waiting, for a process or for a moment that has to pass."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short: a Unix socket's path has 107 bytes, and pytest's own directories, named after the user, the worker and the test, take them."""
    with TemporaryDirectory(prefix="pv-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def logging_is_left_as_it_was() -> Iterator[None]:
    """A command under test sets up logging to the stream of that moment, which pytest closes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def no_blocking_call_in_the_loop() -> Iterator[BlockBuster]:
    with blockbuster_ctx("podvitals") as guard:
        yield guard


@pytest_asyncio.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
    assert not left, f"tasks left behind: {[task.get_name() for task in left]}"
