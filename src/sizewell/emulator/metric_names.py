"""The names under which engines tell their figures, by version.

vLLM's are read in its released packages 0.8 to 0.33 (`v1/metrics/loggers.py`), as visible without asking for hidden
ones; SGLang's in 0.5.23. Only figures the emulator has are told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Meaning = Literal[
    "running", "waiting", "deferred", "kv_used_fraction", "kv_used_tokens", "kv_tokens", "preemptions", "prompt_tokens",
    "generated_tokens", "prefix_queries", "prefix_hits", "cache_hit_fraction", "tokens_per_s", "finished", "requests",
    "ttft_s", "itl_s", "tpot_s", "e2e_s", "queue_s", "prefill_s", "decode_s", "inference_s", "request_prompt_tokens",
    "request_output_tokens", "request_most_tokens", "request_n", "request_preemptions",
]  # fmt: skip
Kind = Literal["gauge", "counter", "histogram"]

LATENCY_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
TTFT_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
TOKENS = tuple(float(step * 10**power) for power in range(6) for step in (1, 2, 5))
FEW = (1.0, 2.0, 5.0, 10.0, 20.0)
FOREVER = (10**6,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of an engine, from the first release that has it to the first that has not."""

    name: str
    kind: Kind
    meaning: Meaning
    says: str
    since: tuple[int, ...] = (0,)
    until: tuple[int, ...] = FOREVER
    bounds: tuple[float, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def _gauge(name: str, meaning: Meaning, says: str, **more: object) -> Metric:
    return Metric(name=name, kind="gauge", meaning=meaning, says=says, **more)  # type: ignore[arg-type]


def _counter(name: str, meaning: Meaning, says: str, **more: object) -> Metric:
    return Metric(name=name, kind="counter", meaning=meaning, says=says, **more)  # type: ignore[arg-type]


def _histogram(name: str, meaning: Meaning, says: str, bounds: tuple[float, ...], **more: object) -> Metric:
    return Metric(name=name, kind="histogram", meaning=meaning, says=says, bounds=bounds, **more)  # type: ignore[arg-type]


BY_REASON = "vllm:num_requests_waiting_by_reason"
VLLM = (
    _gauge("vllm:num_requests_running", "running", "Sequences in the running list."),
    _gauge("vllm:num_requests_waiting", "waiting", "Requests that wait."),
    _gauge(BY_REASON, "waiting", "Why they wait.", since=(0, 20), labels=(("reason", "capacity"),)),
    _gauge("vllm:gpu_cache_usage_perc", "kv_used_fraction", "Share of the KV cache in use, 1 is all.", until=(0, 11)),
    _gauge("vllm:kv_cache_usage_perc", "kv_used_fraction", "Share of the KV cache in use, 1 is all.", since=(0, 9, 2)),
    _counter("vllm:num_preemptions_total", "preemptions", "Sequences that lost their blocks."),
    _counter("vllm:gpu_prefix_cache_queries_total", "prefix_queries", "Tokens looked for.", until=(0, 11)),
    _counter("vllm:gpu_prefix_cache_hits_total", "prefix_hits", "Tokens found.", until=(0, 11)),
    _counter("vllm:prefix_cache_queries_total", "prefix_queries", "Prompt tokens looked for.", since=(0, 9, 2)),
    _counter("vllm:prefix_cache_hits_total", "prefix_hits", "Prompt tokens found in the cache.", since=(0, 9, 2)),
    _counter("vllm:prompt_tokens_total", "prompt_tokens", "Prompt tokens computed or found."),
    _counter("vllm:generation_tokens_total", "generated_tokens", "Tokens generated."),
    _counter("vllm:request_success_total", "finished", "Requests that ended, by reason."),
    _histogram("vllm:time_to_first_token_seconds", "ttft_s", "Time to the first token.", TTFT_S),
    _histogram("vllm:time_per_output_token_seconds", "itl_s", "Time between tokens.", ITL_S, until=(0, 11)),
    _histogram("vllm:inter_token_latency_seconds", "itl_s", "Time between tokens.", ITL_S, since=(0, 10, 2)),
    _histogram(
        "vllm:request_time_per_output_token_seconds", "tpot_s", "Mean time per token after the first.", ITL_S,
        since=(0, 11, 1),
    ),
    _histogram("vllm:e2e_request_latency_seconds", "e2e_s", "Time to the last token.", LATENCY_S),
    _histogram("vllm:request_queue_time_seconds", "queue_s", "Time in the waiting queue.", LATENCY_S),
    _histogram("vllm:request_inference_time_seconds", "inference_s", "Time in the running list.", LATENCY_S),
    _histogram("vllm:request_prefill_time_seconds", "prefill_s", "Time from admission to the first token.", LATENCY_S),
    _histogram("vllm:request_decode_time_seconds", "decode_s", "Time from the first token to the last.", LATENCY_S),
    _histogram("vllm:request_prompt_tokens", "request_prompt_tokens", "Prompt tokens of a request.", TOKENS),
    _histogram("vllm:request_generation_tokens", "request_output_tokens", "Tokens generated for a request.", TOKENS),
    _histogram("vllm:request_params_max_tokens", "request_most_tokens", "Most tokens asked for.", TOKENS),
    _histogram("vllm:request_params_n", "request_n", "Answers asked for.", FEW),
    _histogram(
        "vllm:request_num_preemptions", "request_preemptions", "Preemptions of a request.",
        (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0), since=(0, 30),
    ),
)  # fmt: skip
SGLANG = (
    _gauge("sglang:num_running_reqs", "running", "Sequences in the running list."),
    _gauge("sglang:num_queue_reqs", "waiting", "Requests that wait."),
    _gauge("sglang:token_usage", "kv_used_fraction", "Share of the token pool in use."),
    _gauge("sglang:kv_used_tokens", "kv_used_tokens", "Tokens in use.", since=(0, 5, 10)),
    _gauge("sglang:max_total_num_tokens", "kv_tokens", "Tokens the pool holds."),
    _gauge("sglang:gen_throughput", "tokens_per_s", "Tokens generated per second."),
    _gauge("sglang:cache_hit_rate", "cache_hit_fraction", "Share of prompt tokens found in the cache."),
    _gauge("sglang:num_retracted_reqs", "preemptions", "Sequences that lost their tokens."),
    _counter("sglang:prompt_tokens_total", "prompt_tokens", "Prompt tokens."),
    _counter("sglang:generation_tokens_total", "generated_tokens", "Tokens generated."),
    _counter("sglang:num_requests_total", "requests", "Requests that ended."),
    _histogram("sglang:time_to_first_token_seconds", "ttft_s", "Time to the first token.", TTFT_S),
    _histogram("sglang:inter_token_latency_seconds", "itl_s", "Time between tokens.", ITL_S),
    _histogram("sglang:e2e_request_latency_seconds", "e2e_s", "Time to the last token.", LATENCY_S),
    _histogram("sglang:queue_time_seconds", "queue_s", "Time in the waiting queue.", LATENCY_S),
)  # fmt: skip


def metrics_of(engine: str, release: tuple[int, ...]) -> tuple[Metric, ...]:
    """Return the metrics of an engine's release; a two-part release stands for its last patch."""
    given = (*release, *(99,) * (3 - len(release)))
    table = SGLANG if engine == "sglang" else VLLM
    return tuple(metric for metric in table if metric.since <= given and not metric.until <= given)
