"""How `podvitals check` looks: once, on and on, or at a recording."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import click

from podvitals import __version__
from podvitals.cli.check_page import change_line, document, table, tally
from podvitals.cli.output import columns, encode, print_lines
from podvitals.detect.anonymise import Anonymiser
from podvitals.detect.detector import Detector
from podvitals.detect.family import Family
from podvitals.detect.findings import Finding, finding
from podvitals.detect.record import Recorder
from podvitals.detect.recording import Record, read_recording
from podvitals.detect.replay import Change, Replay
from podvitals.detect.roots import Roots
from podvitals.detect.rules.load import builtin, load_file
from podvitals.detect.rules.rule import Rules
from podvitals.detect.schedule import Schedule
from podvitals.detect.spec import FAMILIES, Equipment, family_of, parse
from podvitals.device.health import Health
from podvitals.device.verdict import Verdict
from podvitals.errors import InvalidInput, LocalError

_EXIT = {Health.HEALTHY: 0, Health.UNHEALTHY: 1, Health.UNKNOWN: 2}


@dataclass(frozen=True, slots=True)
class Request:
    detectors: tuple[str, ...]
    rules_file: Path | None
    watch: bool
    form: str
    unhealthy: bool
    record: Path | None
    replay: Path | None
    anonymise: bool
    root: Path

    def __post_init__(self) -> None:
        if self.anonymise and self.record is None:
            raise InvalidInput("--anonymise is about what --record writes: give --record FILE too")
        if self.watch and self.form in ("json", "yaml"):
            raise InvalidInput("-w prints a table: leave -o away, or -w")
        if self.replay is not None and (self.watch or self.detectors):
            raise InvalidInput("--replay reads a recording: --watch and --detector are for this machine")
        if self.replay is not None and self.record is not None and self.replay.resolve() == self.record.resolve():
            raise InvalidInput("--record would overwrite what --replay reads: give it another file")


def check(request: Request) -> int:
    """The exit code."""
    rules = load_file(request.rules_file) if request.rules_file is not None else builtin()
    with ExitStack() as stack:
        clean = Anonymiser(socket.gethostname()).line if request.anonymise else None
        recorder = stack.enter_context(Recorder(request.record, __version__, clean)) if request.record is not None else None
        if request.replay is not None:
            return _replayed(request, rules, recorder)
        return asyncio.run(_live(request, rules, recorder))


# --- a recording ---------------------------------------------------------------------------------------------------------------------


def records_of(path: Path) -> Iterator[Record]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from read_recording(file, str(path))
    except OSError as error:
        raise LocalError(f"cannot read recording {path}: {error.strerror}") from None


def _replayed(request: Request, rules: Rules, recorder: Recorder | None) -> int:
    assert request.replay is not None
    records = tuple(records_of(request.replay))
    if recorder is not None:
        for record in records:
            recorder(record)
    replay = Replay(rules, records)
    changes = [change for change in replay.run() if change.before is not None]
    findings = replay.findings()
    _print(request, findings, changes)
    return _exit_code(findings)


# --- this machine --------------------------------------------------------------------------------------------------------------------


async def _live(request: Request, rules: Rules, recorder: Recorder | None) -> int:
    if not request.watch:
        # One look cannot see whether something lasts; whoever looks once wants to know how it is.
        rules = Rules({rule.id: replace(rule, lasting=0.0) for rule in rules}, rules.about, rules.damping)
    roots = Roots() if request.root == Path("/") else Roots.under(request.root)
    equipment = Equipment(roots, rules, recorder)
    detectors = await asyncio.to_thread(_chosen, request.detectors, equipment)
    if not detectors:
        raise InvalidInput("no family can find a device here: `podvitals detectors` tells why")
    schedule = Schedule("check", "this-machine", detectors)
    await schedule.start()
    if not request.watch:
        await schedule.once()
        _print(request, _findings(schedule, detectors, rules), ())
        for failure in schedule.failures:
            click.echo(f"podvitals check: {failure}", err=True)
    else:
        await _watch(request, schedule, detectors, rules)
    code = _exit_code(_findings(schedule, detectors, rules))
    return code if code or not schedule.failures else _EXIT[Health.UNKNOWN]


def _chosen(specs: Sequence[str], equipment: Equipment) -> list[Detector]:
    if specs:
        return [parse(spec, equipment) for spec in specs]
    found: list[Detector] = []
    for name in FAMILIES:
        family = family_of(name)
        if family is not None and not family.available(equipment.roots) and (everything := family.everything()) is not None:
            found.append(equipment.give(everything))
    return found


def _findings(schedule: Schedule, detectors: Sequence[Detector], rules: Rules) -> list[Finding]:
    judges = [detector.judge for detector in detectors if isinstance(detector, Family)]  # one, for all go by the same rules
    devices = schedule.devices.items()
    if not judges:
        return [Finding(device, schedule.verdict(name)) for name, device in devices]
    return [finding(device, schedule.verdict(name), rules, judges[0].evidence) for name, device in devices]


async def _watch(request: Request, schedule: Schedule, detectors: Sequence[Detector], rules: Rules) -> None:
    """Prints the table when every device was read, then what changes, until Ctrl-C."""
    stop, news = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    schedule.subscribe(lambda _: news.set())
    running = asyncio.create_task(schedule.run(), name="check: schedule")
    stopped = asyncio.create_task(stop.wait(), name="check: stop")
    shown: dict[str, Verdict] = {}
    began = schedule.clock.now()
    try:
        while not stop.is_set() and not running.done():
            if not shown and schedule.verdicts.keys() >= schedule.devices.keys():
                shown = dict(schedule.verdicts)
                _print(request, _findings(schedule, detectors, rules), ())
            elif shown:
                shown = _print_news(schedule, shown, began)
            news.clear()
            waiter = asyncio.create_task(news.wait(), name="check: news")
            await asyncio.wait({waiter, stopped, running}, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
    finally:
        running.cancel()
        stopped.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)


def _print_news(schedule: Schedule, shown: dict[str, Verdict], began: float) -> dict[str, Verdict]:
    now = dict(schedule.verdicts)
    for name, verdict in now.items():
        before = shown.get(name)
        if before is None or (before.health, before.message, before.action) != (verdict.health, verdict.message, verdict.action):
            click.echo(change_line(Change(schedule.clock.now() - began, before, verdict)))
    return now


def _print(request: Request, findings: Sequence[Finding], changes: Sequence[Change]) -> None:
    told = [one for one in findings if not request.unhealthy or one.verdict is None or one.verdict.message or one.rules]
    if request.form in ("json", "yaml"):
        click.echo(encode(document(told, changes), request.form), nl=False)
        return
    longest = None if request.form == "wide" else max(columns() // 2, 40)
    print_lines(table(told).lines(wide=request.form == "wide", longest=longest) if told else [])
    print_lines(["", *map(change_line, changes)] if changes else [])
    print_lines([tally(findings)])


def _exit_code(findings: Sequence[Finding]) -> int:
    healths = [one.verdict.health if one.verdict is not None else Health.UNKNOWN for one in findings]
    return _EXIT[Health.worst(healths)] if healths else 0
