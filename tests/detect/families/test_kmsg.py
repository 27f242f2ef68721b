"""The kernel log as a family: lines really written to /dev/kmsg, lines the kernel itself wrote, and a log whose numbers have gaps."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.families.kmsg import Kmsg, Log, from_spec
from podvitals.detect.recording import Heard, Named, Record
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Code, Count, Signal
from podvitals.detect.spec import Spec
from podvitals.errors import InvalidInput
from tests.detect.families.loops import loop_over, requires_loop
from tests.detect.families.tree import Tree
from tests.roots import requires

GPU, OTHER = "pci-0000-3b-00-0", "pci-0000-5e-00-0"
KMSG = Path("/dev/kmsg")
END = "amdgpu 0000:5e:00.0: amdgpu: GPU reset begin!"
requires_kmsg = requires("the right to read and write the kernel log", os.access(KMSG, os.R_OK | os.W_OK))


def write(line: str) -> None:
    """A line of user space in the kernel log. Opened for each: the kernel limits how many lines one opener may write."""
    descriptor = os.open(KMSG, os.O_WRONLY)
    os.write(descriptor, f"<15>{line}\n".encode())
    os.close(descriptor)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.pci("0000:3b:00.0", "030200", driver="nvidia")
    tree.pci("0000:5e:00.0", "030200", driver="amdgpu")
    return tree


class Packets:
    """A kernel log whose records a test writes, with the numbers it likes: a pipe that keeps its packets apart."""

    def __init__(self, tree: Tree) -> None:
        self._reader, self._writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
        fcntl.fcntl(self._writer, 1031, 1 << 20)  # F_SETPIPE_SZ: each record takes a page
        (tree.dev / "kmsg").symlink_to(f"/proc/self/fd/{self._reader}")

    def say(self, sequence: int, text: str, at: float = 1.0, facility: int = 0, flags: str = "-") -> None:
        os.write(self._writer, f"{facility << 3 | 4},{sequence},{at * 1e6:.0f},{flags};{text}\n".encode())

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


def family(roots: Roots, *patterns: str, from_anybody: bool = False) -> Kmsg:
    kmsg = Kmsg(*patterns, from_anybody=from_anybody)
    kmsg.roots = roots
    list(kmsg.find())
    return kmsg


async def ready(roots: Roots, *patterns: str, from_anybody: bool = False) -> Kmsg:
    """The same inside the loop, where nothing may block."""
    return await asyncio.to_thread(family, roots, *patterns, from_anybody=from_anybody)


@asynccontextmanager
async def pushed(kmsg: Kmsg) -> AsyncIterator[AsyncIterator[tuple[str, Signal]]]:
    async with aclosing(kmsg.listen()) as told:  # type: ignore[type-var]
        yield told


async def until(kmsg: Kmsg, name: str, code: str) -> list[tuple[str, Code]]:
    """Everything that is pushed, up to that code of that device."""
    found: list[tuple[str, Code]] = []
    async with pushed(kmsg) as told:
        async for who, said in told:
            assert isinstance(said, Code)
            found.append((who, said))
            if (who, said.code) == (name, code):
                return found
    raise AssertionError(f"it ended after {found}")


def words(told: list[tuple[str, Code]]) -> list[str]:
    return [f"{name} {said.table} {said.code}" for name, said in told]


def xid(number: int, bus: str = "3b") -> str:
    return f"NVRM: Xid (PCI:0000:{bus}:00): {number}, pid=2280636, name=python3, GPU has fallen off the bus."


@pytest.fixture
def real(tree: Tree) -> Kmsg:
    """On the real kernel log, for GPUs that this machine has not."""
    return family(Roots(tree.sys, Path("/dev"), tree.proc), from_anybody=True)


@requires_kmsg
async def test_a_line_really_written_to_the_kernel_log_is_pushed_to_its_device_with_its_age(real: Kmsg) -> None:
    number = 1000 + os.getpid() % 9000
    async with pushed(real) as told:
        write(xid(number))
        async for name, said in told:
            if isinstance(said, Code) and said.code == str(number):
                assert name == GPU
                break
    assert isinstance(said, Code)
    assert said.text == xid(number)
    assert 0 <= said.age < 5
    assert dict(said.params) == {
        "pci": "0000:3b:00.0",
        "pid": "2280636",
        "name": "python3",
        "what": "GPU has fallen off the bus.",
        "xid": str(number),
    }


@requires_kmsg
async def test_nobody_but_the_kernel_can_make_a_device_sick_by_its_log(real: Kmsg, tree: Tree) -> None:
    number = 10000 + os.getpid() % 9000
    careful = await ready(Roots(tree.sys, Path("/dev"), tree.proc))
    descriptor = os.open(KMSG, os.O_WRONLY)
    os.write(descriptor, f"<3>{xid(number)}\n".encode())  # claims facility 0; the kernel makes it 1
    os.close(descriptor)
    await until(real, GPU, str(number))  # it is there
    heard = asyncio.create_task(until(careful, GPU, str(number)), name="careful listener")
    async with asyncio.timeout(5):
        while not careful.settled:
            await asyncio.sleep(0)
    heard.cancel()
    with pytest.raises(asyncio.CancelledError):
        await heard


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[tuple[str, Kmsg]]:
    """A disk of which only the beginning can be read."""
    kmsg = family(Roots(), "loop*")
    file = tmp_path / "disk"
    file.write_bytes(bytes(1 << 20))
    with loop_over(file) as name:
        os.truncate(file, 4096)
        descriptor = os.open(f"/dev/{name}", os.O_RDONLY)
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(descriptor, 4096, 512 * 1024)
        os.close(descriptor)
        yield name, kmsg


@requires_kmsg
@requires_loop
async def test_the_kernel_s_own_line_about_a_disk_that_fails_to_be_read_is_believed(failing_disk: tuple[str, Kmsg]) -> None:
    name, kmsg = failing_disk
    told = await until(kmsg, name, "block-io-error")
    assert told[-1][1].table == "kmsg"


async def test_after_a_restart_reading_goes_on_where_it_ended(tree: Tree, log: Packets) -> None:
    before = await ready(tree.roots)
    log.say(5, xid(31))
    assert words(await until(before, GPU, "31")) == [f"{GPU} xid 31"]
    after = await ready(tree.roots)
    after.recall(before.remember(), same_boot=True)
    log.say(5, xid(31))  # the kernel's log begins at its beginning for whoever opens it
    log.say(6, xid(79))
    assert words(await until(after, GPU, "79")) == [f"{GPU} xid 79"]


async def test_what_was_read_but_not_yet_told_is_read_again_after_a_restart(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    for number in range(5, 9):
        log.say(number, xid(number))
    await until(kmsg, GPU, "6")
    assert kmsg.remember() == {"next": "7"}


async def test_after_a_reboot_the_log_is_read_from_its_beginning(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    kmsg.recall({"next": "1000"}, same_boot=False)
    log.say(1, xid(79))
    assert words(await until(kmsg, GPU, "79")) == [f"{GPU} xid 79"]


async def test_lines_that_were_lost_are_counted_and_the_rest_is_heard(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    kmsg.recall({"next": "7"}, same_boot=True)
    log.say(10, "three were lost while the driver was away")
    log.say(11, "next")
    log.raw(b"\xff not a record")
    log.say(500, xid(79))
    async with pushed(kmsg) as told:
        name, said = await anext(told)
        assert isinstance(said, Code)
        assert (name, said.code) == (GPU, "79")
        assert list(kmsg.read(Device(GPU))) == [Count("kmsg.lost", 3 + 488 + 1)]
    with pytest.raises(Unreadable, match="not being read"):
        kmsg.read(Device(GPU))


async def test_an_old_line_tells_its_age(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    log.say(1, xid(79), at=time.monotonic() - 3600)
    ((_, said),) = await until(kmsg, GPU, "79")
    assert 3599 < said.age < 3700


async def test_a_driver_that_is_loaded_anew_is_news_of_every_device_it_drives(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    log.say(1, "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.65.06")
    log.say(2, END)
    assert words(await until(kmsg, OTHER, "amdgpu-reset")) == [f"{GPU} life reset", f"{OTHER} kmsg amdgpu-reset"]


async def test_a_line_in_pieces_is_told_once(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    log.say(1, "NVRM: Xid (PCI:0000:3b:00)")
    log.say(2, ": 79, GPU has fallen", flags="c")
    log.say(3, " off the bus.", flags="c")
    log.say(4, END)
    assert words(await until(kmsg, OTHER, "amdgpu-reset")) == [f"{GPU} xid 79", f"{OTHER} kmsg amdgpu-reset"]


async def test_lines_of_others_than_the_kernel_are_passed_over(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    log.say(1, xid(79), facility=1)
    log.say(2, END)
    assert words(await until(kmsg, OTHER, "amdgpu-reset")) == [f"{OTHER} kmsg amdgpu-reset"]
    assert kmsg.remember() == {"next": "3"}


async def test_a_device_that_is_gone_still_hears_its_last_words(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    (tree.sys / "bus/pci/devices/0000:3b:00.0").unlink()
    assert GPU in {device.name for device in await asyncio.to_thread(kmsg.find)}
    log.say(1, xid(79))
    assert words(await until(kmsg, GPU, "79")) == [f"{GPU} xid 79"]


async def test_the_beginning_of_the_log_is_over_when_all_of_it_was_told(tree: Tree, log: Packets) -> None:
    kmsg = await ready(tree.roots)
    for number in range(100):
        log.say(number, xid(13))
    async with pushed(kmsg) as told:
        for _ in range(100):
            await anext(told)
            assert not kmsg.settled
        following: asyncio.Task[tuple[str, Signal]] = asyncio.create_task(anext(told))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            while not kmsg.settled:
                await asyncio.sleep(0)
        log.say(100, xid(79))
        assert (await following)[0] == GPU


async def test_a_log_that_cannot_be_opened_is_the_probe_s_failure(tree: Tree) -> None:
    kmsg = await ready(tree.roots)
    with pytest.raises(Unreadable, match=r"dev/kmsg cannot be read \(no such file or directory\)"):
        await until(kmsg, GPU, "79")
    with pytest.raises(Unreadable, match="cannot be read"):
        await asyncio.to_thread(lambda: list(kmsg.read(Device(GPU))))


def test_the_family_says_what_is_missing(tree: Tree) -> None:
    assert Kmsg.available(tree.roots) == f"{tree.dev}/kmsg is not there"
    (tree.dev / "kmsg").touch()
    assert Kmsg.available(tree.roots) == ""


def test_patterns_choose_by_type_address_and_name(tree: Tree) -> None:
    tree.pci("0000:00:1f.4", "0c0500")
    (tree.dev / "neuron0").touch()
    names = {
        (): {GPU, OTHER, "neuron0"},
        ("gpu",): {GPU, OTHER},
        ("0000:3b:*",): {GPU},
        ("pci-0000-00-*", "neuron*"): {"pci-0000-00-1f-4", "neuron0"},
    }
    for patterns, expected in names.items():
        kmsg = family(tree.roots, *patterns)
        assert {device.name for device in kmsg.find()} == expected


@requires_kmsg
@requires("a machine whose kernel log may be overwritten (CI=true)", False)
def test_records_that_the_kernel_overwrote_before_they_were_read_are_counted() -> None:
    place = Log(KMSG, None)
    while place.records(64)[1]:
        pass
    first = place.next
    assert first is not None
    for number in range(1500):
        write(f"podvitals fills the log {number} {'x' * 900}")
    records = []
    more = True
    while more:
        found, more = place.records(64)
        records += found
    place.close()
    assert place.lost > 0
    assert place.lost + len(records) == records[-1].sequence - first + 1


async def test_a_recording_has_the_lines_that_name_a_device_whole_and_the_names_and_no_other(tree: Tree, log: Packets) -> None:
    records: list[Record] = []
    kmsg = Kmsg()
    kmsg.roots, kmsg.tap = tree.roots, records.append
    await asyncio.to_thread(lambda: list(kmsg.find()))
    log.say(1, "python[4711]: segfault at 0 ip 0 sp 0")
    log.say(2, "gpu of slot 0000:3b")
    log.say(3, ":00.0 does what no pattern knows", flags="c")
    log.say(4, "pci 0000:3b:00.0: said by a program", facility=1)
    log.say(5, END)
    await until(kmsg, OTHER, "amdgpu-reset")
    assert [record.text for record in records if isinstance(record, Heard)] == ["gpu of slot 0000:3b:00.0 does what no pattern knows", END]
    (named,) = (record for record in records if isinstance(record, Named))
    assert dict(named.names)[GPU] == (("driver", "nvidia"), ("pci", "0000:3b:00.0"))


def test_options_are_checked() -> None:
    for options, wrong in (({"from": "me"}, "from= takes kernel"), ({"lines": "/x"}, "kmsg has no option 'lines'")):
        with pytest.raises(InvalidInput, match=wrong):
            from_spec(Spec("kmsg:x", "kmsg", (), options))
    assert str(from_spec(Spec("kmsg:gpu", "kmsg", ("gpu",), {"from": "anybody"}))) == "kmsg:gpu"
