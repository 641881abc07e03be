"""How a started deployment stands: what the system that started it says, what its log says, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["PENDING", "ALLOCATED", "LOADING", "WARMING", "READY", "DEGRADED", "FAILED", "ENDED"]
"""From waiting for machines to gone; READY means that one real token came back."""
JobStage = Literal["waiting", "running", "ended"]
Cause = Literal[
    "not-installed",
    "out-of-memory",
    "no-kv-memory",
    "host-memory",
    "port-taken",
    "missing-file",
    "gated-model",
    "no-such-model",
    "bad-flag",
    "interface",
    "node-missing",
    "start-timeout",
    "walltime",
    "cancelled",
    "disk-full",
    "driver",
    "engine-death",
    "refuses",
    "unknown",
]
"""Why a start or a server failed; `engine-death` is an engine that ended by itself, whatever its exit
code, `refuses` one that is healthy and will never answer the one request it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What the system that runs the job says of it: a process, SLURM or Kubernetes.

    `reason` is its own word for waiting or ending (`Resources`, `TIMEOUT`, `OOMKilled`); `exit_code` is None while it
    runs, and negative for a signal. `expected_at` is when it is to start, in its words too, where it knows; `advice` is
    what somebody must do before it can.
    """

    stage: JobStage
    reason: str = ""
    exit_code: int | None = None
    nodes: tuple[str, ...] = ()
    running_s: float | None = None
    expected_at: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something did not start or stay: the cause, the lines that show it, and what to do about it.

    A `survivable` one is what the log shows of an engine of which nothing says that it died.
    """

    cause: Cause
    evidence: tuple[str, ...]
    advice: str
    survivable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What an engine's log says so far; None where it said nothing.

    `stage` is the furthest the start came, nothing of a log that `is_empty`; bytes and tokens are those of one rank and
    one engine, as logged; `state_bytes` is the part of the cache an engine sets aside for recurrent states.
    """

    stage: Literal["nothing", "started", "loading", "warming", "serving", "ended"] = "nothing"
    is_empty: bool = True
    engine: str | None = None
    version: str | None = None
    loaded_fraction: float | None = None
    load_bytes_per_s: float | None = None
    remaining_s: float | None = None
    weights_bytes: float | None = None
    load_s: float | None = None
    kv_cache_bytes: float | None = None
    state_bytes: float | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    graphs_bytes: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFacts:
    """What the endpoint answers: whether it listens, says it is healthy, and gave one token.

    One that `refuses` says that the request itself is wrong (400, 404, 422), which no waiting changes.
    An engine `behind_router` is asked for none: one of a pool answers no request by itself.
    """

    listens: bool = False
    healthy: bool = False
    gave_token: bool = False
    behind_router: bool = False
    refuses: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The verdict on one replica: its stage, why in one line, how far a load is, and why it failed if it did."""

    stage: Stage
    reason: str = ""
    loaded_fraction: float | None = None
    load_bytes_per_s: float | None = None
    remaining_s: float | None = None
    failure: Failure | None = None
