"""Summaries of other tools: what they state stands in our terms and units, and what they do not state is not known."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from driver.double import Double
from sizewell.driver.imported import Imported
from sizewell.driver.other_tools import read_results
from sizewell.specs.errors import BadInputError
from sizewell.traffic.score import Score
from sizewell.traffic.stated import stated_score
from sizewell.traffic.workload import Slo

COUNTS = {
    "duration": 8.0, "completed": 200, "total_input_tokens": 20_000, "total_output_tokens": 4_000,
    "request_throughput": 25.0, "request_rate": "inf", "max_concurrency": 16,
}  # fmt: skip
VLLM = COUNTS | {
    "num_prompts": 204, "mean_ttft_ms": 50.0, "median_ttft_ms": 40.0, "p99_ttft_ms": 90.0, "mean_tpot_ms": 10.0,
    "median_tpot_ms": 9.0, "p99_tpot_ms": 20.0, "mean_itl_ms": 11.0, "median_itl_ms": 8.0, "mean_e2el_ms": 240.0,
}  # fmt: skip
SGLANG = COUNTS | {
    "backend": "sglang", "request_rate": inf, "mean_ttft_ms": 50.0, "median_ttft_ms": 40.0, "p99_ttft_ms": 90.0,
    "mean_tpot_ms": 10.0, "mean_itl_ms": 0.0, "median_itl_ms": 0.0, "mean_e2e_latency_ms": 240.0,
}  # fmt: skip


def _times(unit: str, mean: float) -> dict[str, Any]:
    return {"unit": unit, "avg": mean, "p50": mean * 0.8, "p90": mean * 1.2, "p95": mean * 1.5, "p99": mean * 1.8}


GENAI_PERF = {
    "request_throughput": {"unit": "requests/sec", "avg": 25.0}, "request_count": {"unit": "requests", "avg": 200.0},
    "time_to_first_token": _times("ms", 50.0), "inter_token_latency": _times("us", 10_000.0),
    "request_latency": _times("s", 0.24), "input_sequence_length": {"avg": 100.0},
    "output_sequence_length": {"avg": 20.0}, "input_config": {"perf_analyzer": {"stimulus": {"concurrency": 16}}},
}  # fmt: skip
AIPERF = GENAI_PERF | {
    "aiperf_version": "0.10.0", "benchmark_duration": {"unit": "sec", "avg": 8.0},
    "error_request_count": {"avg": 4.0},
    "input_config": {"phases": [{"exclude_from_results": True, "concurrency": 3}, {"concurrency": 16}]},
}  # fmt: skip


def _spread(mean: float) -> dict[str, float]:
    return {"mean": mean, "median": mean * 0.8, "p90": mean * 1.2, "p95": mean * 1.5, "p99": mean * 1.8}


INFERENCE_PERF = {
    "load_summary": {"count": 204, "requested_rate": 26.0},
    "successes": {
        "count": 200, "prompt_len": {"mean": 100.0}, "output_len": {"mean": 20.0},
        "throughput": {"requests_per_sec": 25.0},
        "latency": {
            "time_to_first_token": _spread(0.05), "time_per_output_token": _spread(0.01),
            "inter_token_latency": _spread(0.011), "request_latency": _spread(0.24),
        },
    },
    "failures": {"count": 4},
}  # fmt: skip


def _each(mean: float) -> dict[str, Any]:
    shares = {f"p{share}": mean * by for share, by in ((50, 0.8), (90, 1.2), (95, 1.5), (99, 1.8))}
    return {"successful": {"mean": mean, "percentiles": shares}, "errored": {"mean": 0.0, "percentiles": {}}}


GUIDELLM = {
    "benchmarks": [{
        "config": {"strategy": {"type_": "poisson", "rate": 26.0}}, "duration": 8.0,
        "requests": {"successful": [], "errored": [], "incomplete": []},
        "metrics": {
            "request_totals": {"successful": 200, "errored": 3, "incomplete": 1, "total": 204},
            "prompt_token_count": _each(100.0), "output_token_count": _each(20.0), "request_latency": _each(0.24),
            "time_to_first_token_ms": _each(50.0), "inter_token_latency_ms": _each(10.0),
            "time_per_output_token_ms": _each(12.0),
        },
    }],
}  # fmt: skip
TOOLS = {
    "vllm bench": VLLM, "SGLang bench_serving": SGLANG, "GenAI-Perf": GENAI_PERF, "AIPerf": AIPERF,
    "inference-perf": INFERENCE_PERF, "GuideLLM": GUIDELLM,
}  # fmt: skip


def _read(folder: Path, found: Any) -> tuple[Imported, Score]:
    (folder / "r.json").write_text(json.dumps(found))
    (load,) = read_results(folder / "r.json")
    assert load.stated is not None
    return load, stated_score(load.stated, Slo())


@pytest.mark.parametrize("tool", TOOLS)
def test_a_summary_is_scored_in_our_terms_and_units(tmp_path: Path, tool: str) -> None:
    """200 of 204 requests in 8 s, of 100 and 20 tokens: whatever the tool calls it and in whatever unit."""
    load, felt = _read(tmp_path, TOOLS[tool])
    unserved = 0 if tool in ("SGLang bench_serving", "GenAI-Perf") else 4
    assert (load.tool, felt.ok, felt.failed + felt.unfinished) == (tool, 200, unserved)
    assert (felt.ttft.mean_s, felt.tpot.mean_s, felt.e2e.mean_s) == pytest.approx((0.05, 0.01, 0.24))
    assert felt.ttft.p50_s == pytest.approx(0.04)
    assert felt.wall is not None
    assert (felt.wall.output_tokens_per_s, felt.wall.total_tokens_per_s) == pytest.approx((500.0, 3000.0))
    paced = tool in ("inference-perf", "GuideLLM")
    assert (load.label, load.concurrency) == (("26/s", None) if paced else ("16", 16))


def test_of_a_sample_the_figures_of_all_are_taken(tmp_path: Path) -> None:
    """GuideLLM may keep ten requests of each kind, whose number per second is none of the server's."""
    (whole,) = GUIDELLM["benchmarks"]
    timings = {"targeted_start": 9.0, "request_start": 9.0, "first_token_iteration": 9.5, "last_token_iteration": 9.9}
    kept = {"prompt_tokens": 7, "output_tokens": 5, "info": {"timings": timings}}
    _, felt = _read(tmp_path, {"benchmarks": [whole | {"requests": {"successful": [kept] * 10}}]})
    assert felt.wall is not None
    assert (felt.ok, felt.unfinished, felt.ttft.mean_s) == (200, 1, pytest.approx(0.05))
    assert felt.wall.output_tokens_per_s == pytest.approx(500.0)


def test_what_was_not_measured_is_not_zero(tmp_path: Path) -> None:
    """SGLang writes zeros where a server did not stream gaps; vLLM leaves percentiles out nobody asked for."""
    _, felt = _read(tmp_path, SGLANG)
    assert (felt.itl.n, felt.itl.mean_s, felt.itl.refused) == (0, None, "no values")
    _, felt = _read(tmp_path, VLLM)
    assert (felt.e2e.mean_s, felt.e2e.p50_s, felt.ttft.p90_s) == (pytest.approx(0.24), None, None)
    _, felt = _read(tmp_path, VLLM | {"completed": 50})
    assert (felt.ttft.p99_s, felt.ttft.mean_s) == (None, pytest.approx(0.05)), "a p99 of 50 requests is a guess"


def test_a_copy_of_the_script_that_writes_seconds(tmp_path: Path) -> None:
    bare = COUNTS | {"median_ttft": 1.5, "p99_ttft": 5.0, "median_tpot": 0.05}
    _, felt = _read(tmp_path, bare)
    assert (felt.ttft.mean_s, felt.ttft.p50_s, felt.tpot.p50_s) == (None, 1.5, 0.05)


def test_times_under_a_rate_without_starts_are_figures_and_no_rows(tmp_path: Path) -> None:
    """Two requests of 0.22 and 0.3 s in a load of 5 s: nobody knows when they went, each took as long."""
    raw = COUNTS | {
        "duration": 5.0, "completed": 3, "request_rate": 0.5, "max_concurrency": None, "total_output_tokens": 5,
        "input_lens": [100, 200, 50], "output_lens": [3, 2, 0], "ttfts": [0.1, 0.2, 0.0], "errors": ["", "", ""],
        "itls": [[0.05, 0.07], [0.1], []],
    }  # fmt: skip
    load, felt = _read(tmp_path, raw)
    assert (load.label, len(load.run), felt.ok, felt.failed) == ("0.5/s", 0, 2, 1)
    assert (felt.ttft.mean_s, felt.tpot.mean_s, felt.e2e.mean_s) == pytest.approx((0.15, 0.08, 0.26))
    assert felt.itl.n == 3


def test_where_nobody_says_what_was_offered_it_came_as_it_was_served(tmp_path: Path) -> None:
    load, _ = _read(tmp_path, INFERENCE_PERF | {"load_summary": {"count": 204}})
    assert (load.label, load.rate) == ("25.5/s", 25.5)
    load, _ = _read(tmp_path, VLLM | {"max_concurrency": None})
    assert (load.label, load.rate) == ("inf/s", inf)


def test_a_time_per_token_that_its_own_latencies_contradict(tmp_path: Path) -> None:
    """inference-perf 0.2 took blank lines for tokens: it states half of what 0.19 s leave for each of 19 tokens."""
    _, felt = _read(tmp_path, INFERENCE_PERF)
    assert felt.itl.mean_s == pytest.approx(0.011)
    latency = INFERENCE_PERF["successes"]["latency"] | {"time_per_output_token": _spread(0.005)}  # type: ignore[index]
    load, felt = _read(tmp_path, INFERENCE_PERF | {"successes": INFERENCE_PERF["successes"] | {"latency": latency}})  # type: ignore[operator]
    assert (felt.tpot.mean_s, felt.tpot.p50_s, felt.itl.mean_s) == (pytest.approx(0.19 / 19), None, None)
    assert [(gate.name, gate.held, gate.value) for gate in load.gates] == [
        ("stated time per token", False, pytest.approx(0.5))
    ]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({key: value for key, value in VLLM.items() if key != "completed"}, "not as its tool writes it: KeyError"),
        (VLLM | {"duration": 0}, "lasted 0 seconds"),
        (INFERENCE_PERF | {"successes": {"count": 3}}, "lifecycle_metrics.json"),
        ({key: value for key, value in GENAI_PERF.items() if key != "request_count"}, "how many requests"),
    ],
)
def test_half_a_summary_is_refused_in_one_line(tmp_path: Path, found: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        _read(tmp_path, found)


@pytest.mark.usefixtures("here")
def test_a_summary_stands_beside_what_is_predicted(say: Any) -> None:
    Path("v.json").write_text(json.dumps(VLLM))
    said = say("bench", "llama-3.1-8b", "--on", "h100", "--import", "v.json", "--ttft", "45ms", "--json")
    assert said.code == 0, said.err
    schema = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "bench.json").read_text())
    jsonschema.validate(said.document, schema)
    (point,) = said.document["points"]
    assert (said.document["figures_only"], point["concurrency"], point["requests"]) == (True, 16, 204)
    assert (point["mean_input_tokens"], point["mean_output_tokens"], point["predicted"]["ok"]) == (100, 20, 204)
    assert (point["score"]["good"], point["score"]["attainment_fraction"]) == (None, None), "who met it is not known"
    assert said.document["missed"] == ["16: mean TTFT is 50 ms, limit 45 ms"]
    assert "from when it sent" in say("bench", "--import", "v.json").out
    for flag in ("--rows", "--plots", "--keep"):
        refused = say("bench", "--import", "v.json", flag, "out.html")
        assert (refused.code, "holds figures only" in refused.complaint) == (2, True)


@pytest.mark.usefixtures("here")
def test_a_report_of_ours_is_read_back_as_it_was_measured(say: Any, double: tuple[str, Double]) -> None:
    words = ("--concurrency", "2", "--requests", "10", "--input", "8", "--answer", "4", "--report", "r.json")
    measured = say("bench", "--url", double[0], *words, "--json").document["points"][0]["score"]
    read = say("bench", "--import", "r.json", "--json").document["points"][0]
    assert (read["load"], read["score"]["ok"]) == ("2", 10)
    for name in ("ttft", "tpot", "e2e"):
        assert read["score"][name]["mean_s"] == pytest.approx(measured[name]["mean_s"])
    rate = read["score"]["wall"]["output_tokens_per_s"]
    assert rate == pytest.approx(measured["wall"]["output_tokens_per_s"])
