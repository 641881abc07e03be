"""A measured load as an llm-d Benchmark Report, version 0.2.1: the form other tools' results are compared in.

Its terms are ours: time_per_output_token leaves out the first token, inter_token_latency pools the gaps of all
requests. Ours count from when a request was due, which the report's `description` says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sizewell.driver.bench import Measured
from sizewell.traffic.distribution import Distribution
from sizewell.traffic.score import Score

VERSION = "0.2.1"
SAYS = "Latencies count from when a request was due. Throughput is over the wall time of the load."
MILLISECONDS = 1e3


def benchmark_report(measured: Measured, score: Score, model: str, tool_version: str) -> dict[str, Any]:
    """Return the report of one load as JSON types; what a sample is too small to say is left out.

    Of a load that another tool measured, `model` is that tool, and when it was is not known.
    """
    load = _load(measured, model, tool_version)
    time = _time(measured.begun_unix_s, score.wall.window_s if score.wall else 0.0)
    stamp = hashlib.sha256(json.dumps([time, load], sort_keys=True).encode()).hexdigest()
    return {
        "version": VERSION,
        "run": {
            "uid": stamp[:32],
            "time": time,
            "description": SAYS,
        },
        "scenario": {"load": load},
        "results": {"request_performance": {"aggregate": _aggregate(measured, score)}},
    }


def _time(begun_unix_s: float | None, took_s: float) -> dict[str, str]:
    """Return when a load began and ended, where that is known, and how long it took."""
    took = {"duration": f"PT{took_s:.3f}S"}
    if begun_unix_s is None:
        return took
    begun, ended = (datetime.fromtimestamp(begun_unix_s + later_s, UTC).isoformat() for later_s in (0.0, took_s))
    return {"start": begun, "end": ended, **took}


def _load(measured: Measured, model: str, tool_version: str) -> dict[str, Any]:
    requests = measured.offer.requests
    own = measured.begun_unix_s is not None
    standardized: dict[str, Any] = {
        "tool": "sizewell bench" if own else model,
        "tool_version": tool_version if own else "unknown",
        "source": "random" if own else "unknown",
        "input_seq_len": _lengths(requests.input_tokens),
        "output_seq_len": _lengths(requests.output_tokens),
    }
    if requests.in_flight is not None:
        standardized["concurrency"] = requests.in_flight
    elif len(requests) > 1 and requests.arrival_s.max() > requests.arrival_s.min():
        standardized["rate_qps"] = (len(requests) - 1) / float(np.ptp(requests.arrival_s))
    native = {"args": {"model": model, "load": measured.offer.label}}
    return {"metadata": {"cfg_id": _hash(standardized)}, "standardized": standardized, "native": native}


def _lengths(tokens: Any) -> dict[str, Any]:
    low, high = int(tokens.min()), int(tokens.max())
    if low == high:
        return {"distribution": "fixed", "value": low}
    spread = {"std_dev": float(tokens.std()), "min": low, "max": high}
    return {"distribution": "other", "value": float(tokens.mean()), **spread}


def _aggregate(measured: Measured, score: Score) -> dict[str, Any]:
    served = measured.run.served
    whole = {
        "total": score.offered,
        "failures": score.failed + score.rejected,
        "incomplete": score.unfinished,
        "input_length": _counts(measured.run.input_tokens[served]),
        "output_length": _counts(measured.run.output_tokens[served]),
    }
    felt = {
        "time_to_first_token": _times(score.ttft, "ms"),
        "time_per_output_token": _times(score.tpot, "ms/token"),
        "inter_token_latency": _times(score.itl, "ms/token"),
        "request_latency": _times(score.e2e, "ms"),
    }
    return {"requests": _there(whole), "latency": _there(felt), "throughput": _throughput(score)}


def _throughput(score: Score) -> dict[str, Any]:
    if score.wall is None:
        return {}
    output, total = score.wall.output_tokens_per_s, score.wall.total_tokens_per_s
    return {
        "input_token_rate": {"units": "tokens/s", "mean": total - output},
        "output_token_rate": {"units": "tokens/s", "mean": output},
        "total_token_rate": {"units": "tokens/s", "mean": total},
        "request_rate": {"units": "queries/s", "mean": score.wall.requests_per_s},
    }


def _times(values: Distribution, units: str) -> dict[str, Any] | None:
    if values.mean_s is None:
        return None
    known = {"mean": values.mean_s, "p50": values.p50_s, "p90": values.p90_s, "p95": values.p95_s, "p99": values.p99_s}
    return {"units": units, **{name: value * MILLISECONDS for name, value in known.items() if value is not None}}


def _counts(tokens: Any) -> dict[str, Any] | None:
    if not len(tokens):
        return None
    return {"units": "count", "mean": float(tokens.mean()), "min": int(tokens.min()), "max": int(tokens.max())}


def _there(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
