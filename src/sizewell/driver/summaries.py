"""Summaries of other tools, which keep figures and no request's own times: read by name into our terms.

Their latencies count from when a request was sent. TPOT is ours in all of them, under whatever name: vLLM's and
SGLang's "tpot", GenAI-Perf's, AIPerf's and GuideLLM's "inter-token latency", inference-perf's "time per output token".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from sizewell.driver.gates import Gate
from sizewell.driver.imported import Imported, as_stated
from sizewell.specs.errors import BadInputError
from sizewell.traffic.distribution import Distribution
from sizewell.traffic.stated import Stated

MS, S = 1e-3, 1.0
SHARES = (50, 90, 95, 99)
LEAST_PACE = 0.8
"""Of the time per token that latencies leave; a mean over requests is never far below it, however lengths differ."""
Says = Mapping[str, Any]


def from_vllm_summary(found: Says, stated: Stated) -> Imported:
    """Return a load of `vllm bench serve`, its forerunners or SGLang's `bench_serving`, of which figures are known."""
    tool = "SGLang bench_serving" if "mean_e2e_latency_ms" in found else "vllm bench"
    return as_stated(tool, stated, concurrency=found.get("max_concurrency"), rate=_rate(found.get("request_rate")))


def vllm_figures(found: Says) -> Stated:
    """Return what a result saved without details says."""
    ok = int(found["completed"])
    names = {"ttft": ("ttft",), "tpot": ("tpot",), "itl": ("itl",), "e2e": ("e2el", "e2e_latency")}
    gaps = max(0, int(found["total_output_tokens"]) - ok)
    return Stated(
        ok=ok, failed=int(found.get("failed") or max(0, int(found.get("num_prompts") or 0) - ok)),
        input_tokens=float(found["total_input_tokens"]), output_tokens=float(found["total_output_tokens"]),
        window_s=_positive(found["duration"]),
        felt={ours: _vllm_figure(found, theirs, gaps if ours == "itl" else ok) for ours, theirs in names.items()},
    )  # fmt: skip


def _vllm_figure(found: Says, names: Sequence[str], n: int) -> Distribution:
    """Return one latency; some copies of the script leave `_ms` out and write seconds."""
    for name in names:
        for end, unit in (("_ms", MS), ("", S)):
            said = {key: found.get(f"{key}_{name}{end}") for key in ("mean", "median", "p90", "p95", "p99")}
            if any(value is not None for value in said.values()):
                return _told(n, said, ("mean", "median", "p90", "p95", "p99"), unit)
    return Distribution(n=0, refused="no values")


def from_genai_perf(found: Says) -> tuple[Imported, ...]:
    """Return the load of GenAI-Perf's profile_export_genai_perf.json or AIPerf's profile_export_aiperf.json."""
    tool = "AIPerf" if "aiperf_version" in found or "benchmark_duration" in found else "GenAI-Perf"
    names = {
        "ttft": ("time_to_first_token",), "tpot": ("inter_token_latency",), "e2e": ("request_latency",),
        "ttfa": ("time_to_first_output_token",),
    }  # fmt: skip
    per_s = _average(found, "request_throughput")
    lasted_s = _average(found, "benchmark_duration")
    ok = _average(found, "request_count") or (per_s or 0.0) * (lasted_s or 0.0)
    if not (per_s and ok):
        raise BadInputError(f"the {tool} summary does not say how many requests there were: give its raw export")
    ok = round(ok)
    keys = ("avg", "p50", "p90", "p95", "p99")
    felt = {
        ours: _told(ok, said, keys, UNITS[said.get("unit", "ms")])
        for ours, (theirs,) in names.items()
        if isinstance(said := found.get(theirs), Mapping)
    }
    stated = Stated(
        ok=ok, failed=int(_average(found, "error_request_count") or 0), window_s=_positive(lasted_s or ok / per_s),
        input_tokens=ok * (_average(found, "input_sequence_length") or 0.0),
        output_tokens=ok * (_average(found, "output_sequence_length") or 0.0), felt=felt,
    )  # fmt: skip
    concurrency, rate = _offered(found.get("input_config") or {})
    return (as_stated(tool, stated, concurrency=concurrency, rate=rate),)


UNITS = {"ns": 1e-9, "us": 1e-6, "ms": MS, "s": S, "sec": S}


def _average(found: Says, name: str) -> float | None:
    said = found.get(name)
    value = said.get("avg") if isinstance(said, Mapping) else said
    return None if value is None else float(value)


def _offered(config: Says) -> tuple[int | None, float | None]:
    """Return requests in flight and rate, wherever this version of GenAI-Perf or AIPerf writes them."""
    stimulus = (config.get("perf_analyzer") or {}).get("stimulus") or {}
    phases = [one for one in config.get("phases") or () if not one.get("exclude_from_results")]
    for place in (config.get("loadgen") or {}, stimulus, *phases, config):
        rate = place.get("request_rate") or place.get("rate")
        if rate or place.get("concurrency"):
            return (None, _rate(rate)) if rate else (int(place["concurrency"]), None)
    return None, None


def from_inference_perf_stage(found: Says) -> tuple[Imported, ...]:
    """Return the load of inference-perf's stage_N_ or summary_lifecycle_metrics.json."""
    asked, said, ok = found["load_summary"], found["successes"], int(found["successes"]["count"])
    if not ok or "latency" not in said:
        raise BadInputError(
            "holds no latency of a served request: give inference-perf's stage_N_lifecycle_metrics.json"
        )
    names = {
        "ttft": "time_to_first_token", "tpot": "time_per_output_token", "itl": "inter_token_latency",
        "e2e": "request_latency",
    }  # fmt: skip
    output = float(said["output_len"]["mean"])
    keys = ("mean", "median", "p90", "p95", "p99")
    felt = {
        ours: _told(round(ok * (output - 1)) if ours == "itl" else ok, said["latency"].get(theirs) or {}, keys, S)
        for ours, theirs in names.items()
    }
    stated = Stated(
        ok=ok, failed=int(found["failures"]["count"]), input_tokens=ok * float(said["prompt_len"]["mean"]),
        output_tokens=ok * output, window_s=_positive(ok / said["throughput"]["requests_per_sec"]), felt=felt,
    )  # fmt: skip
    rate = None if asked.get("concurrency") else _rate(asked.get("requested_rate"))
    load = as_stated("inference-perf", stated, concurrency=asked.get("concurrency"), rate=rate)
    return (_with_its_own_pace(load, stated, output),)


def _with_its_own_pace(load: Imported, stated: Stated, output: float) -> Imported:
    """Return a load whose time per token is what its latencies leave for one, where what it states is far below that.

    inference-perf up to 0.2 takes every line of a stream for a token, blank ones too: half the time, twice the tokens.
    """
    ttft, tpot, e2e = (stated.felt[name].mean_s for name in ("ttft", "tpot", "e2e"))
    if not (ttft and tpot and e2e and output > 1 and e2e > ttft):
        return load
    left_s = (e2e - ttft) / (output - 1)
    share, says = tpot / left_s, "of what latency, first token and length leave for one: that mean stands here instead"
    gate = Gate(name="stated time per token", held=share >= LEAST_PACE, value=share, limit=LEAST_PACE, says=says)
    if gate.held:
        return replace(load, gates=(gate,))
    unknown = Distribution(n=0, refused="the tool takes other pieces for tokens")
    felt = {**stated.felt, "itl": unknown, "tpot": Distribution.stated(stated.ok, left_s, {})}
    return replace(load, stated=replace(stated, felt=felt), gates=(gate,))


def from_benchmark_report(found: Says) -> tuple[Imported, ...]:
    """Return the load of an llm-d Benchmark Report, version 0.1 or 0.2."""
    asked: Says = {}
    if "results" in found:
        said = found["results"]["request_performance"]["aggregate"]
        asked = found["scenario"]["load"]["standardized"]
        per_s = said["throughput"]["request_rate"]["mean"]
    else:
        said = found["metrics"]
        per_s = said["throughput"]["requests_per_sec"]
    counts, latency = said["requests"], said["latency"]
    failed, unfinished = int(counts.get("failures") or 0), int(counts.get("incomplete") or 0)
    ok = int(counts["total"]) - failed - unfinished
    names = {
        "ttft": "time_to_first_token", "tpot": "time_per_output_token", "itl": "inter_token_latency",
        "e2e": "request_latency",
    }  # fmt: skip
    lengths = [ok * float((counts.get(name) or {}).get("mean") or 0.0) for name in ("input_length", "output_length")]
    keys = ("mean", "p50", "p90", "p95", "p99")
    felt = {
        ours: _told(ok, each, keys, UNITS[str(each.get("units", "s")).partition("/")[0]])
        for ours, theirs in names.items()
        if (each := latency.get(theirs))
    }
    stated = Stated(
        ok=ok,
        failed=failed,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        window_s=_positive(ok / per_s),
        felt=felt,
    )
    closed = asked.get("concurrency")
    return (as_stated("llm-d Benchmark Report", stated, concurrency=closed, rate=_rate(asked.get("rate_qps"))),)


def guidellm_figures(load: Says) -> Stated:
    """Return what GuideLLM says of all requests of a load, of which it may keep a few."""
    said, totals = load["metrics"], load.get("request_totals") or load["metrics"]["request_totals"]
    ok = int(totals["successful"])
    names = {
        "ttft": ("time_to_first_token_ms", MS), "tpot": ("inter_token_latency_ms", MS), "e2e": ("request_latency", S),
        "ttfa": ("time_to_first_output_token_ms", MS),
    }  # fmt: skip
    felt = {}
    for ours, (theirs, unit) in names.items():
        each = (said.get(theirs) or {}).get("successful") or {}
        keys = ("mean", "p50", "p90", "p95", "p99")
        felt[ours] = _told(ok, {**(each.get("percentiles") or {}), "mean": each.get("mean")}, keys, unit)
    means = [float(said[f"{which}_token_count"]["successful"]["mean"]) for which in ("prompt", "output")]
    return Stated(
        ok=ok, failed=int(totals["errored"]), unfinished=int(totals["incomplete"]), input_tokens=ok * means[0],
        output_tokens=ok * means[1], window_s=_positive(load["duration"]), felt=felt,
    )  # fmt: skip


def _told(n: int, said: Says, keys: Sequence[str], unit: float) -> Distribution:
    """Return a distribution from a mean and percentiles under the tool's names; what is no number is not known."""
    values = [said.get(key) for key in keys]
    mean, *shares = [float(value) * unit if isinstance(value, int | float) else None for value in values]
    known = {share: value for share, value in zip(SHARES, shares, strict=True) if value is not None and isfinite(value)}
    return Distribution.stated(n, mean if mean is not None and isfinite(mean) else None, known)


def _positive(seconds: Any) -> float:
    if not (isinstance(seconds, int | float) and isfinite(seconds) and seconds > 0):
        raise BadInputError(f"says that the load lasted {str(seconds)[:20]} seconds")
    return float(seconds)


def _rate(value: Any) -> float | None:
    """Return requests per second, infinite where all came at once; None where nobody says."""
    if value == "inf":
        return inf
    return float(value) if isinstance(value, int | float) and value > 0 else None


SUMMARIES: tuple[tuple[frozenset[str], Callable[[Says], tuple[Imported, ...]]], ...] = (
    (frozenset({"load_summary", "successes", "failures"}), from_inference_perf_stage),
    (frozenset({"request_throughput", "request_latency"}), from_genai_perf),
    (frozenset({"version", "scenario", "results"}), from_benchmark_report),
    (frozenset({"version", "scenario", "metrics"}), from_benchmark_report),
)
"""The fields that tell a summary, and who reads it."""
