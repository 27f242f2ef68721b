"""Files and device nodes, by real inotify; device nodes made with mknod where that is allowed."""

import os
import stat
from pathlib import Path

from podvitals.detect.files import Files
from podvitals.device.health import Health
from tests.detect.kit import running
from tests.roots import requires_mknod


def slow(*patterns: str) -> Files:
    files = Files(*patterns)
    files.interval = 600
    return files


async def test_a_file_that_vanishes_is_missing_at_once_and_heals(tmp_path: Path) -> None:
    for name in ("accel0", "accel1", "other"):
        (tmp_path / name).touch()
    async with running(slow(f"{tmp_path}/accel*")) as frame:
        await frame.says("accel0", Health.HEALTHY)
        (tmp_path / "accel0").rename(tmp_path / "away")
        await frame.says("accel0", Health.UNHEALTHY, f"{tmp_path}/accel0 is missing")
        (tmp_path / "away").rename(tmp_path / "accel0")
        await frame.says("accel0", Health.HEALTHY)
        (tmp_path / "accel1").unlink()
        await frame.says("accel1", Health.UNHEALTHY, "is missing")
        assert set(frame.schedule.devices) == {"accel0", "accel1"}


async def test_a_path_that_is_listed_is_expected_before_it_was_ever_seen(tmp_path: Path) -> None:
    async with running(slow(f"{tmp_path}/accel0")) as frame:
        await frame.says("accel0", Health.UNHEALTHY, "is missing")
        (tmp_path / "accel0").touch()
        await frame.says("accel0", Health.HEALTHY)


async def test_a_file_that_starts_to_match_is_a_new_device(tmp_path: Path) -> None:
    async with running(slow(f"{tmp_path}/accel*")) as frame:
        (tmp_path / "accel7").touch()
        await frame.says("accel7", Health.HEALTHY)


async def test_a_directory_that_comes_later_is_found(tmp_path: Path) -> None:
    files = Files(f"{tmp_path}/late/accel0")
    files.interval = 0.1
    async with running(files) as frame:
        await frame.says("accel0", Health.UNHEALTHY, "is missing")
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "accel0").touch()
        await frame.says("accel0", Health.HEALTHY)


async def test_another_error_than_missing_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "accel0").symlink_to("accel0")  # ELOOP: not even root gets round it
    async with running(slow(f"{tmp_path}/accel0")) as frame:
        await frame.says("accel0", Health.UNKNOWN, "cannot tell whether")


async def test_another_kind_of_file_in_its_place_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "accel0").touch()
    async with running(slow(f"{tmp_path}/accel0")) as frame:
        await frame.says("accel0", Health.HEALTHY)
        (tmp_path / "accel0").unlink()
        (tmp_path / "accel0").mkdir()
        await frame.says("accel0", Health.UNHEALTHY, "accel0 is a directory; it was a file")


@requires_mknod
async def test_a_device_node_is_given_to_containers_and_its_loss_is_seen(tmp_path: Path) -> None:
    node = tmp_path / "accel0"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmp_path / "accel1").touch()
    async with running(slow(f"{tmp_path}/accel*")) as frame:
        await frame.says("accel0", Health.HEALTHY)
        devices = frame.schedule.devices
        assert (devices["accel0"].nodes, devices["accel0"].attributes["kind"]) == ((node,), "character device")
        assert devices["accel1"].nodes == ()
        node.unlink()
        await frame.says("accel0", Health.UNHEALTHY, "is missing")
        node.touch()
        await frame.says("accel0", Health.UNHEALTHY, "accel0 is a file; it was a character device")
        node.unlink()
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        await frame.says("accel0", Health.HEALTHY)
