"""A log that is looked at again and again says what it says at once, and no look reads what was read before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from observer.engine_logs import Sample, read_engine_log, samples
from sizewell.cli import watching
from sizewell.cli.standing_page import failure_lines
from sizewell.cli.watching import TAIL_LINES, Logs, Look, keep_ready, was_ready, watch
from sizewell.deployer.kept import Deployments
from sizewell.deployer.log_file import GrowingLog, News
from sizewell.deployer.started import Started
from sizewell.specs.errors import UnreachableError
from sizewell.specs.standing import Failure, JobFacts, LogFacts, Standing

PIECES = 23
STARTED = Started(
    name="tiny", where="slurm", made_at="2026-11-30T09:00:00+00:00", model="m", host="127.0.0.1", port=8000, replicas=1,
    file="serve.sh", stop_s=1.0, patience_s=1.0,
)  # fmt: skip


class OneReplica:
    """A runner as far as logs are read; it counts the characters it told."""

    def __init__(self, path: Path) -> None:
        self._log = GrowingLog(path)
        self.told = 0

    def news(self, _number: int) -> News:
        news = self._log.news()
        self.told += len(news.text)
        return news


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_looks_at_a_growing_log_say_what_one_look_at_the_whole_says(sample: Sample, tmp_path: Path) -> None:
    path, text = tmp_path / "log", sample.text.rstrip("\n")
    runner = OneReplica(path)
    logs = Logs(runner, None)  # type: ignore[arg-type]
    written = text.encode()
    for number in range(1, PIECES + 1):
        path.write_bytes(written[: len(written) * number // PIECES])
        logs.read(0, is_over=False)
    facts, tail = logs.read(0, is_over=True)
    assert facts == read_engine_log([text]), "also of a last line that has no end"
    assert list(tail) == text.splitlines()[-TAIL_LINES:]
    assert runner.told == len(text), "each character once"


def test_a_log_written_anew_is_read_anew(tmp_path: Path) -> None:
    failed, healthy = samples("failed")[0], samples("healthy")[0]
    path = tmp_path / "log"
    logs = Logs(OneReplica(path), None)  # type: ignore[arg-type]
    path.write_text(max(failed.text * 2, healthy.text * 2, key=len))
    logs.read(0, is_over=False)
    path.write_text(healthy.text)
    assert logs.read(0, is_over=False)[0] == read_engine_log([healthy.text])


@pytest.mark.parametrize(
    ("running_s", "since_ready_s", "expected"),
    [(120.0, 60.0, True), (20.0, 60.0, False), (None, 60.0, True), (60.0, 60.0, True), (60.0, None, False)],
)
def test_what_began_again_since_was_not_ready_yet(
    running_s: float | None, since_ready_s: float | None, expected: bool, tmp_path: Path
) -> None:
    ready = None if since_ready_s is None else datetime.now(UTC) - timedelta(seconds=since_ready_s)
    started = replace(STARTED, ready_at=ready and ready.isoformat(timespec="seconds"))
    job = JobFacts(stage="running", running_s=running_s)
    kept = Deployments(tmp_path)
    kept.claim(started, {"serve.sh": ""})
    assert was_ready(started, job) is expected
    look = Look(number=0, name="replica 0", job=job, log=LogFacts(), standing=Standing(stage="READY"))
    keep_ready(kept, started, [look])
    assert (kept.read(started.name).ready_at == started.ready_at) is expected, "each start is written down once"


def test_who_waits_is_told_that_the_scheduler_is_silent_and_waits_no_longer_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent:
        def facts(self) -> tuple[JobFacts, ...]:
            raise UnreachableError("SLURM does not answer: timed out")

    monkeypatch.setattr(watching, "PAUSE_S", {"slurm": 0.01})
    with pytest.raises(UnreachableError):
        watch(Deployments(tmp_path), STARTED, Silent(), lambda looks: None, 0.05)  # type: ignore[arg-type]
    assert capsys.readouterr().err.count("SLURM does not answer: timed out: asking again") == 1


def test_the_node_that_ended_is_named_beside_the_end_of_a_log_that_goes_on() -> None:
    """The other nodes' last words pushed "node 1 (gpu2) ended with 137" off the page."""
    said = "sizewell: the engine on node 1 (gpu2) ended with 137"
    failure = Failure(cause="host-memory", evidence=(said,), advice="give it more")
    look = Look(
        number=0, name="tiny", job=JobFacts(stage="failed"), log=LogFacts(), tail=("its peers wait", "and wait"),
        standing=Standing(stage="FAILED", failure=failure),
    )  # fmt: skip
    assert [line.removeprefix("  | ") for line in failure_lines(look)][:3] == ["its peers wait", "and wait", said]
