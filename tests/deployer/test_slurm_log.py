"""The log of a SLURM job is that of its present run."""

from __future__ import annotations

import errno
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sizewell.deployer import slurm_job
from sizewell.deployer.slurm_job import CLOCKS_S, Slurm
from sizewell.deployer.slurm_queue import Entry
from sizewell.deployer.started import Part, Started
from sizewell.observer.standing import judge
from sizewell.specs.standing import HttpFacts, JobFacts, LogFacts

STARTED = Started(
    name="tiny", where="slurm", made_at="2026-11-30T09:00:00+00:00", model="m", host="127.0.0.1", port=8000, replicas=1,
    file="tiny.sbatch", stop_s=1.0, patience_s=1.0, parts=(Part(id="17", log="tiny-17.log"),),
)  # fmt: skip


def test_a_run_that_has_written_nothing_yet_is_not_told_by_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put back in the queue, a job runs while its log still says why it ended and where it once answered."""
    begun = datetime.now() - timedelta(seconds=30)  # the scheduler writes local times without a zone
    queued = {"17": Entry(id="17", state="RUNNING", running_s=1.0, starts_at=begun.isoformat(timespec="seconds"))}
    monkeypatch.setattr(slurm_job, "entries", lambda job: queued)
    monkeypatch.setattr("sizewell.deployer.slurm_queue.host_names", lambda nodes: [])
    running, log = Slurm(STARTED, tmp_path), tmp_path / "tiny-17.log"
    log.write_text("sizewell: answers on gpu1, port 10400: \nthe engine ended by itself\n")
    old = time.time() - 30.0 - CLOCKS_S - 5
    os.utime(log, (old, old))

    assert running.news(0).text != "", "what ended has its whole log"
    running.facts()
    assert running.news(0).anew and running.news(0).text == ""
    assert running.lines(0) == []
    with running.reach(0) as there:
        assert not isinstance(there, str) and not there.gave_token
    log.write_text("again\n")
    assert running.news(0).text == "again\n"
    assert running.news(0).text == ""


def test_a_log_that_is_lost_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engine may serve on: only where is not known any more."""
    running, log = Slurm(STARTED, tmp_path), tmp_path / "tiny-17.log"
    monkeypatch.setattr("sizewell.deployer.slurm_job.node_address", lambda node: ("127.0.0.1", node))
    log.write_text("sizewell: answers on gpu1, port 10400: \n")
    with running.reach(0) as there:
        assert there == "http://127.0.0.1:10400"
    log.unlink()
    with running.reach(0) as there:
        assert isinstance(there, HttpFacts) and "its log" in there.error
    standing = judge(JobFacts(stage="running"), LogFacts(), there, was_ready=True)
    assert standing.stage == "DEGRADED" and "is not there to be read" in standing.reason


def test_a_file_server_that_has_lost_a_log_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(*_given: object, **_words: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    running, log = Slurm(STARTED, tmp_path), tmp_path / "tiny-17.log"
    log.write_text("a\n")
    with monkeypatch.context() as lost:
        lost.setattr(Path, "stat", stale)
        assert running.news(0).text == ""
    with monkeypatch.context() as lost:
        lost.setattr(Path, "open", stale)
        assert running.news(0).text == ""
    assert running.news(0).text == "a\n"
