"""Uevents, as the kernel tells them and as nobody else does."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect import uevents
from podvitals.detect.uevents import Uevent, parse
from tests.detect import kernel_says
from tests.detect.kernel_says import requires_uevents

PATH = "/devices/virtual/podvitals/one"


async def next_of(told: uevents.Uevents) -> Uevent:
    while not (events := (await told.some())[0]):
        pass
    return events[0]


@requires_uevents
async def test_what_the_kernel_tells_is_heard() -> None:
    with uevents.listening("podvitals") as told:
        kernel_says.say("change", PATH, "podvitals", WEDGED="none", TEXT="a=b")
        async with asyncio.timeout(2):
            event = await next_of(told)
    assert (event.action, event.path, event.name) == ("change", PATH, "one")
    assert (event.keys["WEDGED"], event.keys["TEXT"]) == ("none", "a=b")


@requires_uevents
async def test_what_anybody_else_sends_is_not_believed() -> None:
    with uevents.listening("podvitals") as told:
        kernel_says.say_as_anybody(kernel_says.message("remove", PATH, "podvitals"))
        kernel_says.say("add", PATH, "podvitals")
        async with asyncio.timeout(2):
            assert (await next_of(told)).action == "add"


@requires_uevents
async def test_that_uevents_were_lost_is_said_and_those_that_were_not_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "_BUFFER", 4096)
    with uevents.listening("podvitals") as told:
        for number in range(200):
            kernel_says.say("change", f"{PATH}{number}", "podvitals")
        async with asyncio.timeout(2):
            events, lost = await told.some()
        assert lost
        assert [event.name for event in events][:2] == ["one0", "one1"]
        kernel_says.say("change", PATH, "podvitals")
        async with asyncio.timeout(2):
            assert (await next_of(told)).name == "one", "and it goes on"


@requires_uevents
async def test_what_is_about_other_subsystems_is_passed_over() -> None:
    with uevents.listening("podvitals", "more") as told:
        kernel_says.say("change", PATH, "others", TEXT="SUBSYSTEM=podvitals")
        kernel_says.say("change", PATH, "more")
        async with asyncio.timeout(2):
            assert [event.subsystem for event in (await told.some())[0]] == ["more"]


@requires_uevents
async def test_of_what_nobody_takes_a_bound_is_kept_and_the_rest_is_said_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "MOST_KEPT", 3)
    with uevents.listening("podvitals") as told:
        for number in range(5):
            kernel_says.say("change", f"{PATH}{number}", "podvitals")
        async with asyncio.timeout(2):
            events, lost = await told.some()
    assert ([event.name for event in events], lost) == (["one0", "one1", "one2"], True)


async def test_a_socket_that_fails_is_an_error_once_and_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    with uevents.listening("podvitals") as told:
        calls = 0

        def broken(*_: object) -> None:
            nonlocal calls
            calls += 1
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(socket.socket, "recvfrom", broken)
        told._take()
        with pytest.raises(OSError, match="Input/output error"):
            await told.some()
        assert calls == 1


@requires_uevents
async def test_waiting_may_be_given_up_and_taken_up_again() -> None:
    with uevents.listening("podvitals") as told:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await next_of(told)
        kernel_says.say("change", PATH, "podvitals")
        async with asyncio.timeout(2):
            assert (await next_of(told)).name == "one"


async def test_a_kernel_without_such_sockets_is_an_error_and_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "bind", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    with pytest.raises(OSError, match="not permitted"), uevents.listening("podvitals"):
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00",
        b"change@/devices/a\0ACTION=remove\0DEVPATH=/devices/a\0",
        b"change@/devices/a\0ACTION=change\0DEVPATH=/devices/b\0",
        b"",
    ],
)
def test_what_is_no_uevent_of_the_kernel_is_left(data: bytes) -> None:
    assert parse(data) is None


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for raw in (data, kernel_says.message("add", "/devices/x", "pci") + data):
        assert (found := parse(raw)) is None or isinstance(found, Uevent)
