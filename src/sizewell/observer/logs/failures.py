"""Why an engine's start failed or the engine died, from its log: the reason before its consequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sizewell.observer.logs.log_line import LogLine
from sizewell.observer.logs.symptoms.deaths import (
    CRASHES,
    DEATH_ADVICE,
    DEATHS,
    EXCEPTION,
    OF_A_RUNNING_ENGINE,
    OPENS,
    UNKNOWN_ADVICE,
)
from sizewell.observer.logs.symptoms.known import SYMPTOMS
from sizewell.observer.logs.symptoms.origins import suspicion
from sizewell.observer.logs.symptoms.symptom import Symptom
from sizewell.observer.logs.traceback import Traceback
from sizewell.specs.standing import Cause, Failure

MOST_EVIDENCE = 3
_UNHEEDED = ("always", "job")
"""Weights that count whatever the engine was about to do."""
_REASON_LINES = 2
"""How many lines after one that announces its reason may belong to it."""
_DEPTH: dict[Cause, int] = {
    "walltime": 1, "cancelled": 1, "node-missing": 1, "interface": 1, "start-timeout": 1, "no-kv-memory": 3,
}  # fmt: skip
_OWN = 2
"""Peers miss a rank that died: what one rank says of itself is nearer to the cause than what others say of it, and what
did not fit nearer than that something did not."""


class FailureReader:
    """Collects suspicions line by line and says at any time whether they make a failure."""

    def __init__(self) -> None:
        self._suspects: dict[int, list[str]] = {}
        self._deaths: list[str] = []
        self._exceptions: list[str] = []
        self._last_words: list[str] = []
        self._announced: list[int] = []
        self._tracebacks: dict[str, Traceback] = {}
        self._guess: Failure | None = None
        self._before_weights = True
        self._served = False
        self._stopped = False

    def read(self, line: LogLine) -> None:
        """Take a line in; only those that state no level, an error or, for hints, a warning can accuse."""
        if line.level == "quiet":
            return
        traceback = self._tracebacks.setdefault(line.speaker, Traceback())
        if traceback.read(line):
            return
        line = traceback.worded(line)
        symptom = next(self._symptoms(line), None)
        if self._announced:
            self._reason(symptom, line)
        if symptom is not None:
            _note(self._suspects.setdefault(symptom, []), line)
            if OPENS.search(line.message):
                self._announced = [symptom] * _REASON_LINES
        if line.level == "warning" or self._stopped:
            return
        if line.level == "fatal" or DEATHS.search(line.message) or _crashes(line):
            _note(self._deaths, line)
        elif EXCEPTION.match(line.message):
            _note(self._last_words if self._deaths else self._exceptions, line)
            self._suspect(line, traceback.place)

    def _suspect(self, line: LogLine, place: str) -> None:
        """The first exception is the cause, those after it its consequences."""
        told = suspicion(line.message, place, before_weights=self._before_weights)
        if self._guess is None and told is not None and not self._served:
            self._guess = Failure(cause=told.cause, evidence=(line.text,), advice=told.advice, survivable=True)

    def _reason(self, symptom: int | None, line: LogLine) -> None:
        """Take in what a line before has announced: one that is known by itself tells more than that."""
        announced = self._announced.pop()
        if symptom is None:
            _note(self._suspects[announced], line)
            return
        self._announced.clear()
        if symptom != announced and SYMPTOMS[symptom].weight != "hint":
            del self._suspects[announced]

    def _symptoms(self, line: LogLine) -> Iterator[int]:
        for number, symptom in enumerate(SYMPTOMS):
            heard = symptom.weight == "hint" or line.level != "warning"
            heard = heard and (not self._stopped or symptom.weight in _UNHEEDED)
            if heard and symptom.pattern.search(line.message):
                yield number

    def loads(self) -> None:
        """Weights are read: what was asked for has been looked at."""
        self._before_weights = False

    def serves(self) -> None:
        """Requests are taken: whatever was said before did no harm."""
        self._announced.clear()
        self._suspects.clear()
        self._deaths.clear()
        self._exceptions.clear()
        self._last_words.clear()
        self._guess = None
        self._served = True

    def stops(self) -> None:
        """Somebody asked the engine to end: what it says from here on is about ending, unless it was dead before."""
        self._stopped = True

    @property
    def failure(self) -> Failure | None:
        """The failure, or None; one that may be survived, as far as nothing says it was fatal, says so."""
        accused = [(number, SYMPTOMS[number]) for number in self._suspects if self._accuses(SYMPTOMS[number])]
        if accused:
            number, symptom = max(accused, key=lambda one: _DEPTH.get(one[1].cause, _OWN))
            evidence, may_run = tuple(self._suspects[number]), symptom.weight == "job"
            return Failure(cause=symptom.cause, evidence=evidence, advice=symptom.advice, survivable=may_run)
        if self._deaths and self._guess is not None:
            return replace(self._guess, survivable=False)
        if self._deaths:
            advice = DEATH_ADVICE if self._served else UNKNOWN_ADVICE
            said = self._last_words or self._exceptions
            return Failure(cause="engine-death", evidence=(*said, *self._deaths), advice=advice)
        return None if self._served or self._stopped else self._survivable()

    def _survivable(self) -> Failure | None:
        for number, lines in self._suspects.items():
            symptom = SYMPTOMS[number]
            if symptom.weight == "end":
                return Failure(cause=symptom.cause, evidence=tuple(lines), advice=symptom.advice, survivable=True)
        if self._guess is not None:
            return self._guess
        if self._exceptions:
            evidence = tuple(self._exceptions)
            return Failure(cause="unknown", evidence=evidence, advice=UNKNOWN_ADVICE, survivable=True)
        return None

    def _accuses(self, symptom: Symptom) -> bool:
        if symptom.weight in _UNHEEDED:
            return True
        if self._served:
            return bool(self._deaths) and symptom.cause in OF_A_RUNNING_ENGINE
        return symptom.weight == "start" or bool(self._deaths)


def _crashes(line: LogLine) -> bool:
    return line.level == "bare" and CRASHES.search(line.message) is not None


def _note(lines: list[str], line: LogLine) -> None:
    if len(lines) < MOST_EVIDENCE and not any(line.message in known for known in lines):
        lines.append(line.text)
