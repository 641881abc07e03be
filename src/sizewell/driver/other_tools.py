"""Results of other load tools, translated by name into runs: their raw times are kept, their definitions are not.

Each tool calls something else TPOT or ITL; a run holds only when requests were due and sent and when tokens came, and
`traffic.score` says the rest. What a file does not hold (every token's time, when a request was due) stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import nan
from pathlib import Path
from typing import Any

from sizewell.driver.guidellm import from_guidellm
from sizewell.driver.imported import MOST_ERROR_CHARACTERS, Imported, as_imported, failed_status
from sizewell.driver.recording import REFUSALS, Recording
from sizewell.driver.replies import Usage
from sizewell.driver.summaries import SUMMARIES
from sizewell.driver.vllm_bench import from_vllm_bench
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import FAILED, OK, REJECTED, UNFINISHED

MOST_FILE_BYTES = 2 * 2**30
UNKNOWN = (
    "is no result of a load on a server: give what `vllm bench serve --save-result` saved (with --save-detailed each "
    "request's times), SGLang's bench_serving, GuideLLM's JSON report, AIPerf's or GenAI-Perf's profile_export, "
    "inference-perf's lifecycle_metrics.json or an llm-d Benchmark Report, as JSON"
)
MOST_TIMES_A_TOKEN = 1.5
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def read_results(path: Path) -> tuple[Imported, ...]:
    """Return the loads of a results file of `vllm bench serve --save-detailed`, GuideLLM, AIPerf or inference-perf.

    The tool is told from what the file holds. Raises BadInputError where it is none of them, or lacks raw times.
    """
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_FILE_BYTES // 2**30} GiB")
        found = _parsed(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read as JSON: {error}; give the tool's JSON, no YAML or CSV") from None
    reader = next((reader for fits, reader in READERS if fits(found)), None)
    if reader is None:
        raise BadInputError(f"{path}: {UNKNOWN}")
    try:
        return reader(found)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BadInputError(f"{path}: a field is not as its tool writes it: {type(error).__name__} {error}") from None


def from_aiperf(found: Sequence[Mapping[str, Any]]) -> tuple[Imported, ...]:
    """Return the load of an AIPerf profile_export.jsonl, warm-up left out; due is when its credit was issued."""
    rows = [
        _aiperf_row(one["metadata"], one.get("metrics") or {}, one.get("error"))
        for one in found
        if one["metadata"].get("benchmark_phase") != "warmup"
    ]
    many = all(len(one.token_s) > 2 or one.output_tokens <= 2 for one in rows if one.status == OK)
    return (as_imported("AIPerf", "AIPerf", rows, gaps_known=many),)


def _aiperf_row(when: Mapping[str, Any], said: Mapping[str, Any], error: Any) -> Recording:
    sent_s = when["request_start_ns"] * 1e-9
    issued = when.get("credit_issued_ns")
    first, whole = (_metric_s(said, *names) for names in (("time_to_first_token", "ttft"), ("request_latency",)))
    answer = _metric_s(said, "time_to_first_output_token", "ttfo")
    tokens = int(_metric(said, "output_sequence_length") or 0)
    ok = not error and not when.get("was_cancelled") and tokens > 0 and first is not None and whole is not None
    times = _aiperf_times(said, sent_s, first, whole) if ok and first is not None and whole is not None else []
    return Recording(
        row=0, scheduled_s=min(sent_s, issued * 1e-9) if issued else sent_s, sent_s=sent_s, asked_tokens=max(1, tokens),
        token_s=times[:1] if tokens == 1 else times, first_answer_s=nan if answer is None else sent_s + answer,
        usage=Usage(
            input_tokens=int(_metric(said, "input_sequence_length") or 0), output_tokens=tokens,
            think_tokens=int(_metric(said, "reasoning_token_count") or 0),
        ),
        status=OK if ok else UNFINISHED if when.get("was_cancelled") else _aiperf_failed(error),
        error=_aiperf_words(error),
    )  # fmt: skip


def _aiperf_failed(error: Any) -> int:
    return REJECTED if isinstance(error, Mapping) and error.get("code") in REFUSALS else FAILED


def _aiperf_words(error: Any) -> str:
    """Return what AIPerf says of a failure: a kind and a message."""
    said = f"{error.get('type')}: {error.get('message')}" if isinstance(error, Mapping) else str(error or "")
    return said[:MOST_ERROR_CHARACTERS]


def _aiperf_times(said: Mapping[str, Any], sent_s: float, first: float, whole: float) -> list[float]:
    """Return when each chunk came, where the gaps were kept; else first and last."""
    gaps = _metric(said, "inter_chunk_latency")
    if isinstance(gaps, list) and gaps:
        unit = SECONDS[said["inter_chunk_latency"].get("unit", "ms")]
        return list(accumulate([sent_s + first, *(gap * unit for gap in gaps)]))
    return [sent_s + first, sent_s + max(first, whole)]


def _metric(said: Mapping[str, Any], name: str) -> Any:
    value = said.get(name)
    return value.get("value") if isinstance(value, Mapping) else value


def _metric_s(said: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        value = _metric(said, name)
        if value is not None:
            unit = said[name].get("unit", "ms") if isinstance(said[name], Mapping) else "ms"
            return float(value) * SECONDS[unit]
    return None


def from_inference_perf(found: Sequence[Mapping[str, Any]]) -> tuple[Imported, ...]:
    """Return the load of inference-perf's per_request_lifecycle_metrics.json, of this version or older ones."""
    rows = [_inference_perf_row(one) for one in found]
    each = all(len(one.token_s) > 2 or one.output_tokens <= 2 for one in rows if one.status == OK)
    return (as_imported("inference-perf", "inference-perf", rows, gaps_known=each),)


def _inference_perf_row(one: Mapping[str, Any]) -> Recording:
    """Return one request; its own count of tokens is of the text, tokenized again, and may be far from the server's."""
    about = one.get("info") or {}
    streamed = about.get("response_metrics") or about
    usage = streamed.get("server_usage") or {}
    times = [float(at) for at in streamed.get("chunk_times") or streamed.get("output_token_times") or ()]
    tokens = int(usage.get("completion_tokens") or streamed.get("output_tokens") or len(times))
    if len(times) > MOST_TIMES_A_TOKEN * tokens:  # older versions took the time of every line, blank ones too
        times = [times[0], times[-1]]
    error = one.get("error") or ""
    words = f"{error.get('error_type')}: {error.get('error_msg')}" if isinstance(error, Mapping) else str(error)
    return Recording(
        row=0, scheduled_s=one.get("scheduled_time") or one["start_time"], sent_s=one["start_time"],
        asked_tokens=max(1, tokens), token_s=times[: max(1, tokens)],
        usage=Usage(
            input_tokens=int(usage.get("prompt_tokens") or about.get("input_tokens") or 0), output_tokens=tokens
        ),
        status=failed_status(words) if error or not times else OK, error=words[:MOST_ERROR_CHARACTERS],
    )  # fmt: skip


def _parsed(text: str) -> Any:
    """Return one JSON document, or the list of a JSON lines file."""
    try:
        return json.loads(text)
    except ValueError:
        return list(_lines(text))


def _lines(text: str) -> Iterator[Any]:
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)


def _rows_with(*names: str) -> Callable[[Any], bool]:
    def fits(found: Any) -> bool:
        return isinstance(found, list) and bool(found) and isinstance(found[0], dict) and set(names) <= set(found[0])

    return fits


def _object_with(*names: str) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, dict) and set(names) <= set(found)


READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], tuple[Imported, ...]]], ...] = (
    (_object_with("benchmarks"), from_guidellm),
    (_object_with("request_throughput", "total_input_tokens"), from_vllm_bench),
    (
        _rows_with("request_throughput", "total_input_tokens"),
        lambda found: tuple(load for one in found for load in from_vllm_bench(one)),  # of --append-result, or a sweep
    ),
    (_object_with("metadata", "metrics"), lambda found: from_aiperf([found])),
    (_rows_with("metadata", "metrics"), from_aiperf),
    (_rows_with("start_time", "end_time", "info"), from_inference_perf),
    *((_object_with(*names), reader) for names, reader in SUMMARIES),
)
"""How the file of each tool is recognised, and who reads it."""
