"""The verdict on a deployment follows from its job, its log and its endpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.observer.standing import judge
from sizewell.specs.standing import Cause, Failure, HttpFacts, JobFacts, LogFacts, Stage

RUNNING, SILENT, NOBODY = JobFacts(stage="running", nodes=("n1", "n2")), LogFacts(), HttpFacts()
SERVING = LogFacts(stage="serving", engine="vllm")
TOKEN = HttpFacts(listens=True, healthy=True, gave_token=True)


def ended(reason: str = "", exit_code: int | None = 0) -> JobFacts:
    return JobFacts(stage="ended", reason=reason, exit_code=exit_code)


def failing(cause: Cause, stage: str = "loading") -> LogFacts:
    """Return a log with a failure; one of no known kind may be survived."""
    survivable = cause == "unknown"
    failure = Failure(cause=cause, evidence=("a line",), advice="do this", survivable=survivable)
    return LogFacts(stage=stage, failure=failure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "log", "http", "stage", "says"),
    [
        (JobFacts(stage="waiting", reason="Resources"), SILENT, NOBODY, "PENDING", "Resources"),
        (JobFacts(stage="waiting", expected_at="10:45"), SILENT, NOBODY, "PENDING", "expected to start at 10:45"),
        (JobFacts(stage="waiting", reason="Held", advice="let it go"), SILENT, NOBODY, "PENDING", "Held: let it go"),
        (
            JobFacts(stage="waiting", reason="BeginTime"),
            SERVING,
            NOBODY,
            "PENDING",
            "ran before and waits again: Begin",
        ),
        (RUNNING, SILENT, NOBODY, "ALLOCATED", "n1, n2"),
        (RUNNING, LogFacts(stage="started"), NOBODY, "LOADING", "no weights"),
        (RUNNING, LogFacts(stage="loading", loaded_fraction=0.4, remaining_s=9.0), NOBODY, "LOADING", "weights"),
        (RUNNING, LogFacts(stage="warming"), NOBODY, "WARMING", "graphs"),
        (RUNNING, SERVING, NOBODY, "WARMING", "does not answer yet"),
        (RUNNING, SERVING, HttpFacts(listens=True, healthy=True, error="500 no"), "WARMING", "500 no"),
        (RUNNING, LogFacts(stage="loading"), HttpFacts(listens=True, error="503"), "LOADING", "weights"),
        (RUNNING, SERVING, HttpFacts(listens=True, healthy=True, behind_router=True), "READY", "behind its router"),
        (RUNNING, LogFacts(stage="loading"), HttpFacts(behind_router=True), "LOADING", "weights"),
        (RUNNING, SERVING, TOKEN, "READY", "token"),
        (RUNNING, SILENT, TOKEN, "READY", "token"),
        (RUNNING, SERVING, replace(TOKEN, healthy=False, error="/health says 503"), "DEGRADED", "503"),
        (RUNNING, failing("unknown"), NOBODY, "LOADING", "may end it: a line"),
    ],
)
def test_a_start_moves_from_stage_to_stage(
    job: JobFacts, log: LogFacts, http: HttpFacts, stage: Stage, says: str
) -> None:
    standing = judge(job, log, http)

    assert standing.stage == stage
    assert says in standing.reason


REFUSED = HttpFacts(listens=True, healthy=True, refuses=True, error="400 The decoder prompt cannot be empty")


def test_a_server_that_refuses_one_token_for_good_has_failed() -> None:
    """A checkpoint without a tokenizer starts, is healthy, and finds every prompt empty."""
    standing = judge(RUNNING, SERVING, REFUSED)
    assert standing.stage == "FAILED" and standing.failure is not None
    assert standing.failure.cause == "refuses" and "tokenizer*.json" in standing.failure.advice
    named = judge(RUNNING, SERVING, replace(REFUSED, error="404 The model `m` does not exist.")).failure
    assert named is not None and "/v1/models" in named.advice
    assert judge(RUNNING, LogFacts(stage="warming"), REFUSED).stage == "WARMING", "it may still be starting"
    assert judge(RUNNING, SERVING, replace(REFUSED, healthy=False)).stage == "WARMING"
    assert judge(RUNNING, SERVING, REFUSED, was_ready=True).stage == "DEGRADED"


def test_how_far_the_load_is_comes_along() -> None:
    log = LogFacts(stage="loading", loaded_fraction=0.4, load_bytes_per_s=2e9, remaining_s=9.0)
    standing = judge(RUNNING, log, NOBODY)

    assert (standing.loaded_fraction, standing.load_bytes_per_s, standing.remaining_s) == (0.4, 2e9, 9.0)


@pytest.mark.parametrize(
    ("job", "log", "cause"),
    [
        (ended("COMPLETED"), SERVING, "engine-death"),
        (ended("", 0), SILENT, "unknown"),
        (ended("COMPLETED"), failing("engine-death", "ended"), "engine-death"),
        (ended("FAILED", 1), failing("out-of-memory"), "out-of-memory"),
        (ended("TIMEOUT", 0), SERVING, "walltime"),
        (ended("TIMEOUT", 0), LogFacts(stage="ended"), "walltime"),
        (ended("TIMEOUT", 0), failing("node-missing", "started"), "node-missing"),
        (ended("OUT_OF_MEMORY", 0), failing("engine-death"), "host-memory"),
        (ended("OOMKilled", 137), SILENT, "host-memory"),
        (ended("", 137), LogFacts(stage="loading"), "host-memory"),
        (ended("", -9), SERVING, "host-memory"),
        (ended("Error", 137), failing("unknown"), "unknown"),
        (ended("NODE_FAIL", 1), SERVING, "node-missing"),
        (ended("PREEMPTED", 0), SERVING, "cancelled"),
        (ended("DeadlineExceeded", None), SERVING, "walltime"),
        (JobFacts(stage="waiting", reason="ImagePullBackOff"), SILENT, "missing-file"),
        (JobFacts(stage="waiting", reason="CrashLoopBackOff"), failing("no-kv-memory"), "no-kv-memory"),
        (JobFacts(stage="waiting", reason="CrashLoopBackOff"), SILENT, "unknown"),
        (JobFacts(stage="waiting", reason='CreateContainerConfigError: secret "k" not found'), SILENT, "missing-file"),
        (JobFacts(stage="waiting", reason="CreateContainerError: failed to mount"), SILENT, "missing-file"),
        (JobFacts(stage="waiting", reason="RunContainerError: nvml error: driver not loaded"), SILENT, "driver"),
        (ended("StartError", 128), SILENT, "not-installed"),
        (ended("ContainerCannotRun", 127), SILENT, "not-installed"),
    ],
)
def test_a_job_nobody_stopped_has_failed(job: JobFacts, log: LogFacts, cause: Cause) -> None:
    standing = judge(job, log, NOBODY)

    assert standing.stage == "FAILED"
    assert standing.failure is not None
    assert standing.failure.cause == cause
    assert standing.failure.evidence
    assert standing.failure.advice


@pytest.mark.parametrize(
    ("job", "log"),
    [
        (ended("CANCELLED by 1000", 0), SERVING),
        (ended("CANCELLED", 0), failing("out-of-memory")),
        (ended("stopped", -9), SERVING),
        (ended("", -15), SERVING),
        (ended("", 143), LogFacts(stage="loading")),
        (ended("", 143), failing("engine-death", "ended")),  # releases whose parts miss each other on a shared SIGTERM
        (ended("COMPLETED", 0), LogFacts(stage="ended")),
    ],
)
def test_a_job_that_was_stopped_has_ended(job: JobFacts, log: LogFacts) -> None:
    standing = judge(job, log, NOBODY)

    assert standing.stage == "ENDED"
    assert standing.failure == (log.failure if job.reason == "CANCELLED" else None)


@pytest.mark.parametrize(
    ("log", "http", "stage", "says"),
    [
        (SERVING, NOBODY, "DEGRADED", "no longer answers"),
        (SERVING, HttpFacts(listens=True, error="/health says 503"), "DEGRADED", "503"),
        (failing("engine-death", "ended"), HttpFacts(listens=True, error="/health says 503"), "FAILED", "engine-death"),
        (LogFacts(stage="ended"), NOBODY, "DEGRADED", "shutting down"),
        (failing("unknown", "serving"), NOBODY, "DEGRADED", "no longer answers"),
    ],
)
def test_what_was_ready_and_is_silent_is_degraded_or_dead(
    log: LogFacts, http: HttpFacts, stage: Stage, says: str
) -> None:
    standing = judge(RUNNING, log, http, was_ready=True)

    assert standing.stage == stage
    assert says in standing.reason


FACTS = st.builds(
    LogFacts, stage=st.sampled_from(["nothing", "started", "loading", "warming", "serving", "ended"]),
    failure=st.none() | st.builds(
        Failure, cause=st.sampled_from(["unknown", "engine-death", "out-of-memory"]),
        evidence=st.just(("a line",)), advice=st.just("do this"),
    ),
)  # fmt: skip


@given(
    job=st.builds(
        JobFacts, stage=st.sampled_from(["waiting", "running", "ended"]),
        reason=st.sampled_from(["", "COMPLETED", "TIMEOUT", "CANCELLED"]), exit_code=st.none() | st.integers(-15, 255),
    ),
    log=FACTS, http=st.builds(HttpFacts), was_ready=st.booleans(),
)  # fmt: skip
def test_ready_needs_a_token_and_a_failure_a_reason(
    job: JobFacts, log: LogFacts, http: HttpFacts, was_ready: bool
) -> None:
    standing = judge(job, log, http, was_ready=was_ready)

    assert standing.stage != "READY" or (http.gave_token and job.stage == "running")
    assert standing.stage != "FAILED" or standing.failure is not None
    assert standing.reason


@pytest.mark.parametrize(("cause", "words"), [("node-missing", "a node failed"), ("cancelled", "taken back")])
def test_what_was_put_back_in_the_queue_says_why(cause: Cause, words: str) -> None:
    log = failing(cause, "serving")
    standing = judge(JobFacts(stage="waiting", reason="BeginTime"), log, NOBODY, was_ready=True)
    assert standing.stage == "PENDING" and words in standing.reason


def test_an_end_without_a_word_says_where_the_log_should_be() -> None:
    silent = judge(ended("FAILED", 1), SILENT, NOBODY)
    assert silent.failure is not None and "SIZEWELL_HOME" in silent.failure.advice
    wrote = judge(ended("FAILED", 1), LogFacts(is_empty=False), NOBODY)
    assert wrote.failure is not None and "end of its log" in wrote.failure.advice


def test_the_schedulers_word_on_a_job_counts_once_it_has_ended() -> None:
    """A job that runs again may still show the log of the run its node failed under."""
    failure = Failure(cause="node-missing", evidence=("DUE TO NODE FAILURE",), advice="again", survivable=True)
    log = LogFacts(stage="serving", failure=failure)
    assert judge(RUNNING, log, NOBODY).stage == "WARMING"
    over = judge(ended("NODE_FAIL", 1), log, NOBODY)
    assert (over.stage, over.failure and over.failure.cause) == ("FAILED", "node-missing")


@pytest.mark.parametrize(
    ("job", "how"),
    [
        (ended("exited", -11), "exited, signal 11"), (ended("FAILED", 3), "FAILED, exit code 3"),
        (ended("", None), "no exit code"), (ended("COMPLETED", 0), "COMPLETED, exit code 0"),
    ],
)  # fmt: skip
def test_the_headline_says_how_the_job_ended(job: JobFacts, how: str) -> None:
    assert judge(job, LogFacts(stage="loading", is_empty=False), NOBODY).reason.endswith(f"({how})")
