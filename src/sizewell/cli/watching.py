"""How a started deployment stands: what its system, its logs and its endpoints say, put together replica by replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sizewell.cli.expected import Expected
from sizewell.cli.output import talk
from sizewell.specs.errors import UnreachableError
from sizewell.specs.standing import HttpFacts, JobFacts, LogFacts, Stage, Standing

if TYPE_CHECKING:
    from sizewell.deployer.kept import Deployments
    from sizewell.deployer.started import Runner, Started
    from sizewell.observer.logs.engine_log import EngineLog
    from sizewell.observer.startup import StartupLine

WORST_FIRST: tuple[Stage, ...] = (
    "FAILED", "ENDED", "PENDING", "ALLOCATED", "LOADING", "WARMING", "DEGRADED", "READY",
)  # fmt: skip
OVER: tuple[Stage, ...] = ("READY", "FAILED", "ENDED")
PROBE_S = 20.0
TAIL_LINES, TAIL_CHARACTERS = 6, 2**14
PAUSE_S = {"local": 0.5, "slurm": 1.0, "kubernetes": 3.0}
ROUNDED_S = 2.0
"""What two clocks that show whole seconds may differ by."""
MOST_SILENT = 30
"""Times in a row the system may not answer while somebody waits, or reads."""
NEVER = Standing(stage="ENDED", reason="it was never started: the command that began it was cut off")
TAKEN_DOWN = Standing(stage="ENDED", reason="taken down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One replica at one moment, by number and `name`; `url` is empty where no address leads there from here.

    `startup` are the figures its engine stated at start, beside the plan's; `tail` is the end of its log.
    """

    number: int
    name: str
    job: JobFacts
    log: LogFacts
    standing: Standing
    url: str = ""
    startup: Sequence[StartupLine] = ()
    tail: Sequence[str] = ()


class Logs:
    """What the log of each replica said so far: who looks again reads only what is new in it."""

    def __init__(self, runner: Runner, checkpoint_bytes: float | None) -> None:
        self._runner = runner
        self._checkpoint_bytes = checkpoint_bytes
        self._read: dict[int, tuple[EngineLog, str]] = {}

    def read(self, number: int, *, is_over: bool) -> tuple[LogFacts, Sequence[str]]:
        """Return the facts of a replica's log, and its last lines; where it is over no line has an end to come."""
        from sizewell.observer.logs.engine_log import EngineLog

        news = self._runner.news(number)
        log, tail = self._read.get(number, (None, ""))
        if log is None or news.anew:
            log, tail = EngineLog(checkpoint_bytes=self._checkpoint_bytes), ""
        log.feed_text(news.text + "\n" if is_over else news.text)
        tail = (tail + news.text)[-TAIL_CHARACTERS:]
        self._read[number] = log, tail
        return log.facts(), tail.splitlines()[-TAIL_LINES:]


def look(runner: Runner, expected: Expected, logs: Logs | None = None) -> tuple[Look, ...]:
    """Return how each replica stands now; raises UnreachableError where its system does not answer."""
    logs = logs or Logs(runner, expected.started.ledger.get("checkpoint_bytes"))
    return tuple(_look(runner, expected, logs, number, job) for number, job in enumerate(runner.facts()))


def _look(runner: Runner, expected: Expected, logs: Logs, number: int, job: JobFacts) -> Look:
    from sizewell.observer.probe import ask, ask_health
    from sizewell.observer.standing import judge

    started = expected.started
    http, url = HttpFacts(), ""
    if job.stage == "running":
        with runner.reach(number) as there:
            url = there if isinstance(there, str) else ""
            if not isinstance(there, str):
                http = there
            elif started.pooled and number < started.replicas - 1:
                http = ask_health(there, PROBE_S)
            else:
                http = ask(there, started.model, PROBE_S)
    # Read after the questions: who answers has said all it says at start.
    log, tail = logs.read(number, is_over=job.stage != "running")
    standing = judge(job, log, http, was_ready=was_ready(started, job))
    return Look(
        number=number, name=started.names[number], job=job, log=log, standing=standing, url=url,
        startup=expected.lines(log, number), tail=tuple(tail),
    )  # fmt: skip


def was_ready(started: Started, job: JobFacts) -> bool:
    """Return whether what runs now was ready before: what was put back in the queue and began again since was not."""
    if started.ready_at is None or job.stage != "running" or job.running_s is None:
        return started.ready_at is not None
    since_s = (datetime.now(UTC) - datetime.fromisoformat(started.ready_at)).total_seconds()
    return job.running_s + ROUNDED_S >= since_s


def overall(looks: Sequence[Look]) -> Standing:
    """Return how the whole stands: as its worst replica does, which is named where they are not alike.

    Where all are ready that is the last one, the router of two pools.
    """
    if not looks:
        return NEVER
    worst = min(reversed(looks), key=lambda each: WORST_FIRST.index(each.standing.stage))
    if worst.name.startswith("replica") or worst.standing.stage == "READY":
        return worst.standing
    return replace(worst.standing, reason=f"{worst.name}: {worst.standing.reason}")


def watch(
    kept: Deployments, started: Started, runner: Runner, tell: Callable[[Sequence[Look]], None], at_most_s: float | None
) -> tuple[Look, ...]:
    """Look until every replica is ready or one failed, and keep when that was.

    Gives up after `at_most_s`, or, where that is None, once a replica runs longer than any start may take. Raises
    UnreachableError where its system stays silent for long, or until then.
    """
    begun_s, silent, expected = time.monotonic(), 0, Expected(started)
    logs = Logs(runner, started.ledger.get("checkpoint_bytes"))
    while True:
        try:
            looks, silent = look(runner, expected, logs), 0
        except UnreachableError as error:
            looks, silent = (), silent + 1
            if silent > MOST_SILENT or (at_most_s is not None and time.monotonic() - begun_s > at_most_s):
                raise
            if silent == 1:
                talk(f"{started.name}: {error}: asking again")
        if looks:
            tell(looks)
            if overall(looks).stage in OVER:
                break
            if _is_late(looks, started, time.monotonic() - begun_s, at_most_s):
                break
        time.sleep(PAUSE_S[started.where])
    keep_ready(kept, started, looks)
    return looks


def _is_late(looks: Sequence[Look], started: Started, waited_s: float, at_most_s: float | None) -> bool:
    if at_most_s is not None:
        return waited_s > at_most_s
    return any((each.job.running_s or 0) > started.patience_s for each in looks)


def keep_ready(kept: Deployments, started: Started, looks: Sequence[Look]) -> None:
    """Write down that it was ready, once for each start: who no longer answers later has not merely not begun to."""
    if not looks or overall(looks).stage != "READY":
        return
    if not all(was_ready(started, each.job) for each in looks):
        # Read again: it may have been taken down meanwhile.
        kept.keep(replace(kept.read(started.name), ready_at=now()))


def now() -> str:
    """Return the time as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
