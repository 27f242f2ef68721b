"""What a case of conformance is, and what can be found by one. Pure."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from podvitals.errors import InvalidInput

S = TypeVar("S")


class Outcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    """Keeps the contract, but will surprise somebody."""
    SKIP = "skip"
    """Could not be tried here; what was missing is said."""
    NOT_APPLICABLE = "not applicable"
    """This subject cannot have it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`seen`: what was there. `do`: what to do about it. `ms`: how long it took, where a case measures a time."""

    outcome: Outcome
    seen: str
    do: str = ""
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class Case(Generic[S]):
    """One sentence of the contract and how it is tried. `run` returns what was seen or a whole Finding, or raises a Told.

    `do`: what to do when it does not hold. `stage`: cases of one stage may run beside each other; stages follow one another. `slow`: waits
    longer than a few seconds whatever the subject does."""

    name: str
    sentence: str
    source: str
    do: str
    run: Callable[[S], Awaitable[Finding | str]]
    stage: int = 0
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    name: str
    sentence: str
    source: str
    finding: Finding
    seconds: float

    @property
    def outcome(self) -> Outcome:
        return self.finding.outcome


class Told(Exception):
    """A case that ends with something to say. `do`: "" for what the case itself advises."""

    outcome = Outcome.FAIL

    def __init__(self, seen: str, do: str = "", *, ms: float | None = None) -> None:
        super().__init__(seen)
        self.seen, self.do, self.ms = seen, do, ms

    def finding(self, advice: str) -> Finding:
        wanted = self.outcome in (Outcome.FAIL, Outcome.WARN)
        return Finding(self.outcome, self.seen, (self.do or advice) if wanted else self.do, self.ms)


class Failed(Told):
    """The sentence does not hold."""


class Warned(Told):
    outcome = Outcome.WARN


class Skipped(Told):
    outcome = Outcome.SKIP


class NotApplicable(Told):
    outcome = Outcome.NOT_APPLICABLE


class Cases(Generic[S]):
    """The cases of one file, in its order. A decorator puts a function and its sentence side by side."""

    def __init__(self) -> None:
        self.all: list[Case[S]] = []

    def case(
        self, name: str, sentence: str, source: str, *, do: str, stage: int = 0, slow: bool = False
    ) -> Callable[[Callable[[S], Awaitable[Finding | str]]], Callable[[S], Awaitable[Finding | str]]]:
        def keep(run: Callable[[S], Awaitable[Finding | str]]) -> Callable[[S], Awaitable[Finding | str]]:
            self.all.append(Case(name, sentence, source, do, run, stage, slow))
            return run

        return keep


def chosen(cases: Iterable[Case[S]], patterns: Sequence[str], without: Sequence[str] = ()) -> list[Case[S]]:
    """The cases that some pattern of `patterns` (all where there is none) and none of `without` matches; `*` and `?` as in a shell."""
    everything = list(cases)
    for pattern in (*patterns, *without):
        if not any(fnmatchcase(case.name, pattern) for case in everything):
            raise InvalidInput(f"no case is called {pattern!r}: --list shows them all")
    left = [
        case
        for case in everything
        if (not patterns or any(fnmatchcase(case.name, pattern) for pattern in patterns))
        and not any(fnmatchcase(case.name, pattern) for pattern in without)
    ]
    if not left:
        raise InvalidInput("no case is left to try: --skip takes away all that --only names")
    return left


def passed(seen: str, ms: float | None = None) -> Finding:
    return Finding(Outcome.PASS, seen, "", ms)


def exit_code(results: Iterable[Result]) -> int:
    """1 if a case failed, else 0."""
    return int(any(result.outcome is Outcome.FAIL for result in results))
