"""The kernel log as a family: lines really written to /dev/kmsg, lines the kernel itself wrote, and a log whose numbers have gaps."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families.kernellog import Lines
from podvitals.detect.families.kmsg import Kmsg, Place, from_spec
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Code, Count
from podvitals.detect.spec import Spec
from podvitals.errors import InvalidInput
from tests.detect import veth
from tests.detect.families.tree import Tree
from tests.detect.veth import requires_veth
from tests.roots import requires

GPU = "gpu-0000-3b-00-0"
KMSG = Path("/dev/kmsg")
requires_kmsg = requires("the right to read and write the kernel log", os.access(KMSG, os.R_OK | os.W_OK))


def write(line: str) -> None:
    """A line of user space in the kernel log. Opened for each: the kernel limits how many lines one opener may write."""
    KMSG.write_text(f"<15>{line}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.pci("0000:3b:00.0", "030200")
    tree.pci("0000:5e:00.0", "030200")
    return tree


class Packets:
    """A kernel log whose records a test writes, with the numbers it likes: a pipe that keeps its packets apart."""

    def __init__(self, tree: Tree) -> None:
        self._reader, self._writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
        (tree.dev / "kmsg").symlink_to(f"/proc/self/fd/{self._reader}")

    def say(self, sequence: int, text: str, at: float = 1.0, facility: int = 0) -> None:
        os.write(self._writer, f"{facility << 3 | 4},{sequence},{at * 1e6:.0f},-;{text}\n".encode())

    def raw(self, data: bytes) -> None:
        os.write(self._writer, data)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def log(tree: Tree) -> Iterator[Packets]:
    packets = Packets(tree)
    yield packets
    packets.close()


def family(roots: Roots, *patterns: str, from_anybody: bool = False, lines: Lines | None = None) -> Kmsg:
    kmsg = Kmsg(*patterns, from_anybody=from_anybody, lines=lines)
    kmsg.roots = roots
    return kmsg


def codes(kmsg: Kmsg, name: str) -> list[str]:
    return [f"{said.table} {said.code}" for said in kmsg.read(Device(name)) if isinstance(said, Code)]


def xid(number: int, bus: str = "3b") -> str:
    return f"NVRM: Xid (PCI:0000:{bus}:00): {number}, GPU has fallen off the bus."


@requires_kmsg
def test_a_line_really_written_to_the_kernel_log_reaches_its_device_with_its_age(tree: Tree) -> None:
    kmsg = family(Roots(tree.sys, Path("/dev"), tree.proc), "gpu-*", from_anybody=True)
    assert {device.name for device in kmsg.find()} == {GPU, "gpu-0000-5e-00-0"}
    for name in (GPU, "gpu-0000-5e-00-0"):
        list(kmsg.read(Device(name)))  # what others wrote before
    write(xid(79))
    assert codes(kmsg, "gpu-0000-5e-00-0") == []
    (code, lost) = kmsg.read(Device(GPU))
    assert isinstance(code, Code)
    assert (code.table, code.code, code.text) == ("xid", "79", xid(79))
    assert 0 <= code.age < 5
    assert isinstance(lost, Count)
    assert codes(kmsg, GPU) == [], "told once"


@pytest.fixture
def listener(tree: Tree) -> Kmsg:
    kmsg = family(Roots(tree.sys, Path("/dev"), tree.proc), from_anybody=True)
    list(kmsg.find())
    list(kmsg.read(Device(GPU)))
    return kmsg


@requires_kmsg
async def test_a_line_is_pushed_when_the_kernel_has_it(listener: Kmsg) -> None:
    async with aclosing(listener.listen()) as pushed:  # type: ignore[type-var]
        number = 1000 + os.getpid() % 1000
        write(xid(number))
        async for name, said in pushed:
            if isinstance(said, Code) and said.code == str(number):
                assert name == GPU
                break


@requires_kmsg
def test_nobody_but_the_kernel_can_make_a_device_sick_by_its_log(tree: Tree) -> None:
    kmsg = family(Roots(tree.sys, Path("/dev"), tree.proc))
    list(kmsg.find())
    KMSG.write_text(f"<3>{xid(79)}\n")  # claims facility 0; the kernel writes 1
    assert codes(kmsg, GPU) == []


@contextmanager
def loop_over(file: Path) -> Iterator[str]:
    """A loop device over `file` (Linux, include/uapi/linux/loop.h); its name."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    number = fcntl.ioctl(control, 0x4C82)  # LOOP_CTL_GET_FREE
    os.close(control)
    device, backing = os.open(f"/dev/loop{number}", os.O_RDWR), os.open(file, os.O_RDWR)
    fcntl.ioctl(device, 0x4C00, backing)  # LOOP_SET_FD
    os.close(backing)
    try:
        yield f"loop{number}"
    finally:
        fcntl.ioctl(device, 0x4C01)  # LOOP_CLR_FD
        os.close(device)


@requires_kmsg
@requires("root and loop devices", os.geteuid() == 0 and Path("/dev/loop-control").exists())
def test_the_kernel_s_own_line_about_a_disk_that_fails_to_be_read_is_believed(tmp_path: Path) -> None:
    kmsg = family(Roots(), "loop*")
    names = {device.name for device in kmsg.find()}
    file = tmp_path / "disk"
    file.write_bytes(bytes(1 << 20))
    with loop_over(file) as name:
        assert name in names
        codes(kmsg, name)
        os.truncate(file, 4096)
        with open(f"/dev/{name}", "rb", buffering=0) as disk, pytest.raises(OSError, match="Input/output error"):
            os.pread(disk.fileno(), 4096, 512 * 1024)
    assert "kmsg block-io-error" in codes(kmsg, name)


@requires_kmsg
@requires_veth
def test_lines_of_one_s_own_are_read_beside_the_built_in_ones() -> None:
    lines = Lines.parse('[renamed]\nhas = "renamed from"\npattern = "^(?P<ifname>[^:]+): renamed from (?P<before>\\\\S+)"', "mine.toml")
    with veth.pair("pk") as (name, _):
        kmsg = family(Roots(), "pk*", lines=lines)
        list(kmsg.find())
        codes(kmsg, name)
        veth.rename(name, f"{name}x")
        kmsg.find()
        assert f"{name}x" in {device.name for device in kmsg.find()}
        veth.rename(f"{name}x", name)
        assert "kmsg renamed" in codes(kmsg, name)


def test_after_a_restart_reading_goes_on_where_it_ended(tree: Tree, log: Packets) -> None:
    before = family(tree.roots)
    list(before.find())
    log.say(5, xid(31))
    assert codes(before, GPU) == ["xid 31"]
    memory = before.remember()
    after = family(tree.roots)
    after.recall(memory, same_boot=True)
    list(after.find())
    log.say(5, xid(31))  # the kernel's log begins at its beginning for whoever opens it
    log.say(6, xid(79))
    assert codes(after, GPU) == ["xid 79"]
    assert list(after.read(Device(GPU))) == [Count("kmsg.lost", 0)]


def test_what_was_read_but_not_yet_told_is_read_again_after_a_restart(tree: Tree, log: Packets) -> None:
    before = family(tree.roots)
    list(before.find())
    log.say(5, xid(31, bus="5e"))
    log.say(6, "nothing")
    assert codes(before, GPU) == []
    assert before.remember() == {"next": "5"}
    assert codes(before, "gpu-0000-5e-00-0") == ["xid 31"]
    assert before.remember() == {"next": "7"}


def test_after_a_reboot_the_log_is_read_from_its_beginning(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    kmsg.recall({"next": "1000"}, same_boot=False)
    list(kmsg.find())
    log.say(1, xid(79))
    assert codes(kmsg, GPU) == ["xid 79"]


def test_lines_that_were_lost_are_counted_and_the_rest_is_heard(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    list(kmsg.find())
    log.say(10, "the first that is still there")
    log.say(11, "next")
    log.say(500, xid(79))
    log.raw(b"\xff not a record")
    assert codes(kmsg, GPU) == ["xid 79"]
    assert list(kmsg.read(Device(GPU))) == [Count("kmsg.lost", 489)]


def test_lines_lost_while_the_driver_was_away_are_counted(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    kmsg.recall({"next": "7"}, same_boot=True)
    list(kmsg.find())
    log.say(100, xid(79))
    assert list(kmsg.read(Device(GPU)))[-1] == Count("kmsg.lost", 93)


def test_an_old_line_tells_its_age(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    list(kmsg.find())
    log.say(1, xid(79), at=time.monotonic() - 3600)
    code = next(iter(kmsg.read(Device(GPU))))
    assert isinstance(code, Code)
    assert 3599 < code.age < 3700


def test_a_device_that_is_gone_still_hears_its_last_words(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    list(kmsg.find())
    (tree.sys / "bus/pci/devices/0000:3b:00.0").unlink()
    log.say(1, xid(79))
    assert GPU in {device.name for device in kmsg.find()}
    assert codes(kmsg, GPU) == ["xid 79"]


def test_a_flood_about_one_device_is_bounded_and_silences_no_other(tree: Tree, log: Packets) -> None:
    kmsg = family(tree.roots)
    list(kmsg.find())
    log.say(0, xid(48, bus="5e"))
    for number in range(1, 400):
        log.say(number, xid(13))
        if number % 10 == 0:
            codes(kmsg, "none")
    assert len(codes(kmsg, GPU)) == 256
    assert codes(kmsg, "gpu-0000-5e-00-0") == ["xid 48"]


def test_a_log_that_cannot_be_opened_is_the_probe_s_failure(tree: Tree) -> None:
    kmsg = family(tree.roots)
    with pytest.raises(FileNotFoundError):
        kmsg.read(Device(GPU))
    assert Kmsg.available(tree.roots) == f"{tree.dev}/kmsg is not there"


@requires_kmsg
@requires("a machine whose kernel log may be overwritten (CI=true)", False)
def test_records_that_the_kernel_overwrote_before_they_were_read_are_counted() -> None:
    place = Place(KMSG, None)
    while place.records(64)[1]:
        pass
    first = place.next
    assert first is not None
    for number in range(1500):
        write(f"podvitals fills the log {number} {'x' * 900}")
    records = []
    while True:
        found, more = place.records(64)
        records += found
        if not more:
            break
    assert place.lost > 0
    assert place.lost + len(records) == records[-1].sequence - first + 1


def test_options_are_checked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[x]\nhas = "x"\npattern = "("\n')
    for options, wrong in (
        ({"from": "me"}, "from= takes kernel"),
        ({"lines": "/none"}, "cannot read /none"),
        ({"lines": str(mine)}, "pattern"),
    ):
        with pytest.raises(InvalidInput, match=wrong):
            from_spec(Spec("kmsg:x", "kmsg", (), options))
    assert str(from_spec(Spec("kmsg:gpu-*", "kmsg", ("gpu-*",), {"from": "anybody"}))) == "kmsg:gpu-*"
