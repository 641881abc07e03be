"""How a started deployment stands: what its job, its log and its endpoint say, judged together."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.observer.logs.symptoms.settings import REFUSES
from sizewell.observer.logs.symptoms.weights import TOKENIZER
from sizewell.specs.standing import Cause, Failure, HttpFacts, JobFacts, LogFacts, Stage, Standing

CANCELLED_REASONS = ("cancelled", "stopped", "deleted")
STOP_CODES = (-15, -2, 130, 143)
"""What a process ends with that was asked to: SIGTERM and SIGINT, as Python and as shells number them."""
KILL_CODES = (-9, 137)
_JOB_CAUSES: tuple[tuple[str, Cause, str], ...] = (
    ("TIMEOUT", "walltime", "the job's time was up: ask for more (--time)"),
    ("DEADLINE", "walltime", "the job's deadline has passed: ask for a later one, or for less time"),
    ("OUT_OF_ME", "host-memory", "the job used more host memory than it asked for: ask for more (--mem)"),
    ("OOMKILLED", "host-memory", "the pod used more host memory than its limit: raise it"),
    ("NODE_FAIL", "node-missing", "a node failed: start again, without it (--exclude)"),
    ("BOOT_FAIL", "node-missing", "a node did not boot: start again, without it (--exclude)"),
    ("PREEMPTED", "cancelled", "the scheduler took the machines back: start again, or in a partition that does not"),
    ("EVICTED", "cancelled", "the cluster evicted the pod: see its events for what ran short"),
    ("INVALIDIMAGE", "missing-file", "the image has no such name: check it"),
    ("ERRIMAGE", "missing-file", "the image cannot be pulled: check its name and the pull secret"),
    ("IMAGEPULL", "missing-file", "the image cannot be pulled: check its name and the pull secret"),
    ("CREATECONTAINERCONFIG", "missing-file", "a Secret or ConfigMap it names is not in its namespace: create it"),
    (
        "CREATECONTAINERERR",
        "missing-file",
        "the runtime cannot make the container: see what it says, above all of mounts",
    ),
    ("RUNCONTAINERERR", "driver", "the runtime cannot start the container: see the node's driver and its toolkit"),
    ("STARTERR", "not-installed", "the image has no such command: name another --image"),
    ("CONTAINERCANNOTRUN", "not-installed", "the image has no such command: name another --image"),
)
_OWN_WORDS: frozenset[Cause] = frozenset({"unknown", "engine-death"})
_SAID: Mapping[str, tuple[Stage, str]] = {
    "started": ("LOADING", "the engine has started; no weights read yet"),
    "loading": ("LOADING", "weights are being read"),
    "warming": ("WARMING", "weights are loaded; profiling, compiling and recording graphs"),
    "ended": ("DEGRADED", "it is shutting down"),
}
_KILLED = "it was killed (signal 9), most often by a host short of memory: see dmesg, and ask for more (--mem)"
_NO_LOG = (
    "it ended before it wrote a word: cancelled before it began, or unable to write its log where it ran (on SLURM all "
    "nodes must see the folder of SIZEWELL_HOME)"
)
_ENDED = "the engine ended though nobody stopped it, whatever its exit code: see the end of its log"


def judge(job: JobFacts, log: LogFacts, http: HttpFacts, *, was_ready: bool = False) -> Standing:
    """Return the standing of one replica; `was_ready` says whether it gave a token before.

    `was_ready` is of this start: what was put back in the queue and runs again loads again.

    READY only with a token; an engine behind a router leaves that to it, and is healthy. A job that ended though nobody
    stopped it has failed, exit code 0 or not; it was stopped where its reason starts with `cancelled`, `stopped` or
    `deleted`, where a signal to end shows in its exit code, or where the engine says in its log that it was asked to.
    """
    if job.stage == "waiting":
        return _waiting(job, log, was_ready)
    if job.stage == "ended":
        return _ended(job, log, was_ready)
    if http.gave_token or (http.behind_router and http.healthy):
        return _answering(http)
    if log.failure is not None and not log.failure.survivable:
        return _failed(log.failure, log.failure.cause)
    if was_ready:
        return Standing(stage="DEGRADED", reason=_silence(log, http), failure=log.failure)
    return _starting(job, log, http)


def _refusal(http: HttpFacts) -> Failure:
    """Releases start without a tokenizer and then find every prompt empty."""
    wordless = any(word in http.error.lower() for word in ("prompt cannot be empty", "tokenizer"))
    return Failure(cause="refuses", evidence=(http.error,), advice=TOKENIZER if wordless else REFUSES)


def _waiting(job: JobFacts, log: LogFacts, was_ready: bool) -> Standing:
    """Kubernetes calls it waiting when a container cannot be made, or ended and will be started again."""
    named = _named_by_job(job)
    if named is None and job.reason.startswith("CrashLoop"):
        named = log.failure or _unexplained(job, log, was_ready=False)
    if named is not None:
        return _failed(named, f"{named.cause}: {job.reason}")
    again = f"it ran before and waits again{_taken_back(log)}: " if was_ready or log.stage != "nothing" else ""
    expected = f", expected to start at {job.expected_at}" if job.expected_at else ""
    advice = f": {job.advice}" if job.advice else ""
    return Standing(stage="PENDING", reason=f"{again}{job.reason or 'waiting for machines'}{expected}{advice}")


def _taken_back(log: LogFacts) -> str:
    """Return why the scheduler ended what ran, as its log tells."""
    return {"node-missing": " (a node failed)", "cancelled": " (the machines were taken back)"}.get(
        log.failure.cause if log.failure else "", ""
    )


def _answering(http: HttpFacts) -> Standing:
    if http.healthy:
        reason = "a token came back" if http.gave_token else "healthy behind its router"
        return Standing(stage="READY", reason=reason, loaded_fraction=1.0, remaining_s=0.0)
    return Standing(stage="DEGRADED", reason=f"a token came back, but it is not healthy: {http.error or 'no /health'}")


def _silence(log: LogFacts, http: HttpFacts) -> str:
    if log.stage == "ended":
        return "it is shutting down"
    if not http.listens:
        return f"it was ready and no longer answers{_because(http)}"
    return f"it was ready and gives no token{_because(http)}"


def _because(http: HttpFacts) -> str:
    return f": {http.error}" if http.error else ""


def _starting(job: JobFacts, log: LogFacts, http: HttpFacts) -> Standing:
    if http.refuses and http.healthy and log.stage == "serving":
        return _failed(_refusal(http), f"refuses: it is healthy and refuses a request for one token: {http.error}")
    stage, reason = _progress(job, log, http)
    if log.failure is not None:
        reason = f"{reason}; the log shows an error that may end it: {log.failure.evidence[0].strip()[:200]}"
    return Standing(
        stage=stage,
        reason=reason,
        loaded_fraction=log.loaded_fraction,
        load_bytes_per_s=log.load_bytes_per_s,
        remaining_s=log.remaining_s,
        failure=log.failure,
    )


def _progress(job: JobFacts, log: LogFacts, http: HttpFacts) -> tuple[Stage, str]:
    if log.stage in ("started", "loading") and not http.healthy:
        return _SAID[log.stage]  # some listen while they load
    if http.listens and log.stage != "ended":
        return "WARMING", f"it listens, but no token came back yet{_because(http)}"
    if log.stage == "serving":
        return "WARMING", f"it says that it serves, but does not answer yet{_because(http)}"
    if log.stage == "nothing":
        where = f" on {', '.join(job.nodes)}" if job.nodes else ""
        return "ALLOCATED", f"the job runs{where}; the engine has said nothing yet"
    return _SAID[log.stage]


def _ended(job: JobFacts, log: LogFacts, was_ready: bool) -> Standing:
    said = log.failure if log.failure is not None and log.failure.cause not in _OWN_WORDS else None
    if job.reason.lower().startswith(CANCELLED_REASONS):
        return Standing(stage="ENDED", reason=job.reason, failure=said)
    named = _named_by_job(job)
    asked = job.exit_code in STOP_CODES or (log.stage == "ended" and log.failure is None)
    if named is None and said is None and asked:
        return Standing(stage="ENDED", reason=job.reason or "it was stopped")
    failure = said or named or log.failure or _killed(job) or _unexplained(job, log, was_ready)
    return _failed(failure, f"{failure.cause}: the job ended ({_how(job) or 'no exit code'})")


def _how(job: JobFacts) -> str:
    """Return how a job ended: its system's word, and the code or the signal where one says more."""
    code, said = job.exit_code, job.reason
    told = "" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
    return ", ".join(part for part in (said, told) if part)


def _named_by_job(job: JobFacts) -> Failure | None:
    reason = job.reason.upper().replace(" ", "_")
    for word, cause, advice in _JOB_CAUSES:
        if reason.startswith(word):
            return Failure(cause=cause, evidence=(job.reason,), advice=advice)
    return None


def _killed(job: JobFacts) -> Failure | None:
    if job.exit_code not in KILL_CODES:
        return None
    return Failure(cause="host-memory", evidence=(_how(job),), advice=_KILLED)


def _unexplained(job: JobFacts, log: LogFacts, was_ready: bool) -> Failure:
    cause: Cause = "engine-death" if was_ready or log.stage in ("serving", "ended") else "unknown"
    return Failure(
        cause=cause, evidence=(_how(job) or "nobody knows how it ended",), advice=_NO_LOG if log.is_empty else _ENDED
    )


def _failed(failure: Failure, reason: str) -> Standing:
    return Standing(stage="FAILED", reason=reason, failure=failure)
