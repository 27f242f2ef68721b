"""How `podvitals check` looks: once, on and on, or at a recording."""

import asyncio
import signal
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from podvitals import __version__
from podvitals.cli.check_page import change_line, document, table, tally
from podvitals.cli.options import roots_at
from podvitals.cli.output import age, clock, encode, line_width, print_lines
from podvitals.detect.anonymise import Anonymiser
from podvitals.detect.detector import Detector
from podvitals.detect.exposition import exposition
from podvitals.detect.family import Family
from podvitals.detect.findings import Finding, worst_first
from podvitals.detect.record import Recorder
from podvitals.detect.recording import Record, read_recording
from podvitals.detect.replay import Change, Replay
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
        if self.watch and self.form not in ("table", "wide"):
            raise InvalidInput("-w prints a table: leave -o away, or -w")
        if self.replay is not None and (self.watch or self.detectors):
            raise InvalidInput("--replay reads a recording: --watch and --detector are for this machine")
        if self.replay is not None and self.record is not None and self.replay.resolve() == self.record.resolve():
            raise InvalidInput("--record would overwrite what --replay reads: give it another file")


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to print."""

    rules: Rules
    findings: Sequence[Finding]
    changes: Sequence[Change] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def check(request: Request) -> int:
    """The exit code."""
    rules = load_file(request.rules_file) if request.rules_file is not None else builtin()
    clean = Anonymiser(socket.gethostname()).line if request.anonymise else None
    recorder = Recorder(request.record, __version__, clean) if request.record is not None else None
    if request.replay is not None:
        return _replayed(request, rules, recorder)
    return asyncio.run(_live(request, rules, recorder))


def _recording(recorder: Recorder | None) -> AbstractContextManager[object]:
    """Writes the file: only when all that was given is known to be right, for it takes the place of an earlier one."""
    return recorder if recorder is not None else nullcontext()


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
        with recorder:
            for record in records:
                recorder(record)
    replay = Replay(rules, records)
    changes = [change for change in replay.run() if change.before is not None]
    findings = replay.findings()
    _print(request, Page(rules, findings, changes))
    return _exit_code(findings)


# --- this machine --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """What looks at this machine. `left_out`: families that could not, though there is something to see, and why."""

    schedule: Schedule
    detectors: Sequence[Detector]
    rules: Rules
    left_out: Mapping[str, str]

    def page(self) -> Page:
        return Page(self.rules, self.findings(), left_out=self.left_out)

    def findings(self) -> list[Finding]:
        devices = self.schedule.devices.items()
        for detector in self.detectors:
            if isinstance(detector, Family):  # one judge for all families, for all go by the same rules
                return [detector.judge.finding(device, self.schedule.verdict(name)) for name, device in devices]
        return [Finding(device, self.schedule.verdict(name)) for name, device in devices]


async def _live(request: Request, rules: Rules, recorder: Recorder | None) -> int:
    if not request.watch:
        # One look cannot see whether something lasts; whoever looks once wants to know how it is.
        rules = replace(rules, rules={rule.id: replace(rule, lasting=0.0) for rule in rules})
    roots = roots_at(request.root)
    detectors, left_out = await asyncio.to_thread(_chosen, request.detectors, Equipment(roots, rules, recorder))
    _complain(f"{family} is left out: {why}" for family, why in left_out.items())
    if not detectors:
        raise InvalidInput("no family can find a device here: `podvitals detectors` tells why")
    look = Look(Schedule("check", "this-machine", detectors), detectors, rules, left_out)
    with _recording(recorder):
        await look.schedule.start()
        await (_watch(request, look) if request.watch else _once(request, look))
    missed = [*look.schedule.failures, *(f"{name} finds no device" for name in look.schedule.empty_handed if request.detectors)]
    if not missed and not look.schedule.devices:
        missed = ["no device was found, which says nothing of their health: is sysfs mounted? (--root; podvitals detectors)"]
    _complain(missed)
    code = _exit_code(look.findings())
    return code if code or not missed else _EXIT[Health.UNKNOWN]


def _chosen(specs: Sequence[str], equipment: Equipment) -> tuple[list[Detector], dict[str, str]]:
    """What looks: what was asked for, or whatever can; then also what could not, and why."""
    if specs:
        return [parse(spec, equipment) for spec in specs], {}
    found: list[Detector] = []
    left_out: dict[str, str] = {}
    for name in FAMILIES:
        if (family := family_of(name)) is None:
            continue
        if not family.available(equipment.roots) and (everything := family.everything()) is not None:
            found.append(equipment.give(everything))
        elif why := family.hindered(equipment.roots):
            left_out[name] = why
    return found, left_out


def _complain(what: Iterable[str]) -> None:
    for one in what:
        click.echo(f"podvitals check: {one}", err=True)


async def _once(request: Request, look: Look) -> None:
    await look.schedule.once()
    _print(request, look.page())


async def _watch(request: Request, look: Look) -> None:
    """Prints the table when every device was read, then what changes, until Ctrl-C."""
    schedule, stop, news = look.schedule, asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    schedule.subscribe(lambda _: news.set())
    running = asyncio.create_task(schedule.run(), name="check: schedule")
    stopped = asyncio.create_task(stop.wait(), name="check: stop")
    shown: dict[str, Verdict] = {}
    began = schedule.clock.wall()
    try:
        while not stop.is_set() and not running.done():
            if not shown and schedule.verdicts.keys() >= schedule.devices.keys():
                shown = dict(schedule.verdicts)
                _print(request, look.page())
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


def _print_news(schedule: Schedule, shown: Mapping[str, Verdict], began: float) -> dict[str, Verdict]:
    now = dict(schedule.verdicts)
    for name, verdict in now.items():
        before = shown.get(name)
        if before is None or (before.health, before.message, before.action) != (verdict.health, verdict.message, verdict.action):
            click.echo(change_line(clock(schedule.clock.wall(), began), before, verdict))
    return now


# --- what is printed -----------------------------------------------------------------------------------------------------------------


def _print(request: Request, page: Page) -> None:
    shown = worst_first(page.findings)
    told = [one for one in shown if not request.unhealthy or one.badness > (0, False) or one.rules]
    match request.form:
        case "prometheus":
            click.echo(exposition(page.findings, page.rules), nl=False)
        case "json" | "yaml":
            click.echo(encode(document(told, page.changes, page.left_out), request.form), nl=False)
        case form:
            print_lines(table(told).lines(wide=form == "wide", width=line_width(form)) if told else [])
            print_lines(["", *(change_line(f"+{age(one.at)}", one.before, one.now) for one in page.changes)] if page.changes else [])
            print_lines([tally(page.findings)])


def _exit_code(findings: Sequence[Finding]) -> int:
    return _EXIT[Health.worst(one.health for one in findings)] if findings else 0
