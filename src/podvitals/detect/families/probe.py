"""Family `probe`: what an operator's own command, or a page over HTTP, says of a device. `probe:COMMAND[,ARGUMENT...],name=DEVICE` or
`probe:http://127.0.0.1:8080/healthz,name=DEVICE`, with the times every detector takes (`interval=30,timeout=10`).

A command says by its exit status 0 healthy, 1 unhealthy, 2 unknown; a page by 200 healthy, 503 unhealthy. The first line is the message.
Everything else (another status, a signal, silence, no connection) is the probe's failure. The command is started as it is written, without
a shell, in a process group of its own, which is killed when its time is over; `{device}` in an argument is the device's name.
"""

import http.client
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.family import Family
from podvitals.detect.inventory import device_name
from podvitals.detect.signal import Signal, State
from podvitals.detect.spec import Spec
from podvitals.device.text import clean

LONGEST_OUTPUT = 4096
OUTCOMES = {0: "healthy", 1: "unhealthy", 2: "unknown"}
PAGES = {200: "healthy", 503: "unhealthy"}
SLACK = 0.25
"""Seconds before the frame's patience ends in which a probe is ended, so that it says itself what was wrong."""


class ProbeFailed(Unreadable):
    """The probe said nothing that is an answer; the text is for a person."""


class Probe(Family):
    family, about = "probe", "whatever an operator's command or page tells of"
    needs = "a command or an address"
    interval, timeout = 30.0, 10.0

    def __init__(self, *words: str, name: str = "") -> None:
        self.words = words
        self.name = name or device_name(words[0].rpartition("/")[2])

    def __str__(self) -> str:
        return f"probe:{self.name}"

    @classmethod
    def everything(cls) -> Self | None:
        return None

    def find(self) -> Iterable[Device]:
        return [Device(self.name, {"type": "probe", "probe": self.name})]

    def read(self, device: Device) -> Iterable[Signal]:
        patience = max(self.timeout / 2, self.timeout - SLACK)
        if self.words[0].startswith(("http://", "https://")):
            outcome, said = ask_page(self.words[0], patience)
        else:
            outcome, said = run_command([word.replace("{device}", device.name) for word in self.words], patience)
        line = clean(next((line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()), ""))
        return [State("probe.outcome", outcome, text=line or f"{self.words[0].rpartition('/')[2]} said nothing more")]


def run_command(arguments: list[str], seconds: float) -> tuple[str, bytes]:
    """What it says by its exit status, and its first words. Blocks until it ends, at most `seconds`. Raises ProbeFailed."""
    try:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, close_fds=True
        )
    except OSError as error:
        raise ProbeFailed(f"cannot start {arguments[0]}: {error.strerror}") from None
    ended = False
    try:
        said, ended = _heard(process, time.monotonic() + seconds)
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if not ended:
        raise ProbeFailed(f"{arguments[0]} had not ended after {seconds:g} s and was killed{_words(said)}")
    if process.returncode < 0:
        raise ProbeFailed(f"{arguments[0]} was ended by signal {-process.returncode}{_words(said)}")
    if process.returncode not in OUTCOMES:
        raise ProbeFailed(f"{arguments[0]} exited with {process.returncode}, which is none of 0, 1 and 2{_words(said)}")
    return OUTCOMES[process.returncode], said


def _heard(process: "subprocess.Popen[bytes]", deadline: float) -> tuple[bytes, bool]:
    """The first words, and whether it ended in time. What it leaves running, holding its output open, is not waited for."""
    said = b""
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready, _end_of(process) as end:
        os.set_blocking(process.stdout.fileno(), False)
        ready.register(process.stdout, selectors.EVENT_READ)
        ready.register(end, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            events = [key.fileobj for key, _ in ready.select(left)]
            if process.stdout in events:
                with suppress(BlockingIOError):
                    piece = os.read(process.stdout.fileno(), 65536)
                    said = (said + piece)[:LONGEST_OUTPUT]
                    if not piece:
                        ready.unregister(process.stdout)
            elif end in events:
                return said, True
    return said, False


@contextmanager
def _end_of(process: "subprocess.Popen[bytes]") -> Iterator[int]:
    """A descriptor that becomes readable when the process ends (pidfd_open(2))."""
    descriptor = os.pidfd_open(process.pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def ask_page(address: str, seconds: float) -> tuple[str, bytes]:
    """What the page says by its status, and its first words. Blocks, at most about `seconds`. Raises ProbeFailed."""
    parts = urlsplit(address)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers={"User-Agent": "podvitals"})
        answer = connection.getresponse()
        said, status = answer.read1(LONGEST_OUTPUT), answer.status  # the first piece: its first line is all that is asked for
    except (OSError, http.client.HTTPException) as error:
        raise ProbeFailed(f"{address} does not answer: {error}") from None
    finally:
        connection.close()
    if status not in PAGES:
        raise ProbeFailed(f"{address} answers {status}, which is neither 200 nor 503{_words(said)}")
    return PAGES[status], said


def _words(said: bytes) -> str:
    line = clean(said.decode(errors="replace").strip().split("\n")[0], 256)
    return f": {line}" if line else ""


FAMILY = Probe


def from_spec(spec: Spec) -> Probe:
    spec.only("name")
    if not spec.what:
        raise spec.wrong("probe takes a command, such as probe:/usr/local/bin/check-card,name=card0, or an address, such as http://…")
    if not spec.what[0].startswith(("/", "http://", "https://")):
        raise spec.wrong(f"{spec.what[0]!r} is neither an absolute path nor an http address")
    if spec.what[0].startswith("http") and (wrong := _wrong_address(spec.what[0])):
        raise spec.wrong(f"{spec.what[0]!r} is no address: {wrong}")
    probe = Probe(*spec.what, name=device_name(spec.options.get("name", "")))
    if not probe.name:
        raise spec.wrong("nothing in it names the device: say name=DEVICE")
    return probe


def _wrong_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        return "" if parts.hostname and parts.port != 0 else "it names no host, or port 0"
    except ValueError as error:
        return str(error)
