"""Results of other tools: their own formulas, applied by hand, give what our score of the imported run gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sizewell.driver.other_tools import read_results
from sizewell.specs.errors import BadInputError
from sizewell.traffic.score import score

VLLM = {
    "request_throughput": 1.0, "total_input_tokens": 300, "max_concurrency": 2, "request_rate": "inf",
    "input_lens": [100, 200, 50], "output_lens": [3, 2, 0], "ttfts": [0.1, 0.2, 0.0], "errors": ["", "", "boom"],
    "itls": [[0.05, 0.07], [0.1], []], "start_times": [10.0, 11.5, 12.0],
}  # fmt: skip
OLD_VLLM = {key: value for key, value in VLLM.items() if key != "start_times"} | {"duration": 0.3}
GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "poisson", "rate": 4.0}},
            "requests": {
                "successful": [
                    {
                        "prompt_tokens": 10,
                        "output_tokens": 5,
                        "info": {
                            "timings": {
                                "targeted_start": 99.9,
                                "request_start": 100.0,
                                "first_token_iteration": 100.5,
                                "last_token_iteration": 100.9,
                                "token_iterations": 5,
                            }
                        },
                    }
                ],
                "errored": [{"info": {"timings": {"request_start": 101.0}}}],
            },
        }
    ]
}
AIPERF = [
    {
        "metadata": {"benchmark_phase": "warmup", "request_start_ns": 1, "request_end_ns": 2},
        "metrics": {},
    },
    {
        "metadata": {"request_start_ns": 2_000_000_000, "credit_issued_ns": 1_900_000_000},
        "metrics": {
            "time_to_first_token": {"value": 200.0, "unit": "ms"},
            "time_to_first_output_token": {"value": 300.0, "unit": "ms"},
            "request_latency": {"value": 0.6, "unit": "s"},
            "inter_chunk_latency": {"value": [100.0, 100.0, 200.0], "unit": "ms"},
            "input_sequence_length": {"value": 50, "unit": "tokens"},
            "output_sequence_length": {"value": 4, "unit": "tokens"},
            "reasoning_token_count": {"value": 1, "unit": "tokens"},
        },
    },
    {"metadata": {"request_start_ns": 3_000_000_000}, "metrics": {}, "error": {"code": 500}},
]  # fmt: skip
INFERENCE_PERF = [
    {
        "start_time": 5.0, "end_time": 5.5, "request": "{}", "error": None,
        "info": {"input_tokens": 7, "response_metrics": {"output_tokens": 3, "output_token_times": [5.1, 5.3, 5.5]}},
    },
    {"start_time": 6.0, "end_time": 6.2, "error": None,
     "info": {"input_tokens": 7, "output_tokens": 2, "output_token_times": [6.1, 6.2]}},
]  # fmt: skip

REFUSED = "HTTPStatusError(\"Client error '404 Not Found' for url 'http://127.0.0.1/v1/chat/completions'\")"


def _read(tmp_path: Path, found: Any, lines: bool = False) -> Any:
    path = tmp_path / "results.json"
    mark = "utf-8-sig" if lines else "utf-8"  # as shells of Windows begin a file
    path.write_text("\n".join(map(json.dumps, found)) if lines else json.dumps(found), encoding=mark)
    return read_results(path)


def test_vllm_bench(tmp_path: Path) -> None:
    (load,) = _read(tmp_path, VLLM)
    felt = score(load.run)
    assert (load.tool, load.label, felt.ok, felt.failed) == ("vllm bench", "2", 2, 1)
    assert felt.ttft.mean_s == pytest.approx(0.15)
    assert felt.tpot.mean_s == pytest.approx(np.mean([0.12 / 2, 0.1]))
    assert felt.itl.mean_s == pytest.approx(np.mean([0.05, 0.07, 0.1]))
    assert felt.e2e.mean_s == pytest.approx(np.mean([0.22, 0.3]))


def test_vllm_bench_counts_the_wait_for_a_place_under_a_rate(tmp_path: Path) -> None:
    """Without a rate all requests are due at once, and waiting for a place is what a closed loop does."""
    waited = {"queue_times": [0.0, 0.5, 0.0]}
    (paced,) = _read(tmp_path, VLLM | waited | {"request_rate": 1.0})
    (closed,) = _read(tmp_path, VLLM | waited)
    assert (paced.label, closed.label) == ("1.0/s", "2")
    assert (paced.concurrency, closed.concurrency) == (None, 2)
    assert score(paced.run).ttft.mean_s == pytest.approx((0.1 + 0.7) / 2)
    assert score(closed.run).ttft.mean_s == pytest.approx(0.15)


def test_older_vllm_bench_whose_start_times_are_worked_out(tmp_path: Path) -> None:
    """Two places: requests of 0.22 and 0.3 s begin at once, the third, which fails, when the first place is free."""
    (load,) = _read(tmp_path, OLD_VLLM | {"request_rate": 1000.0})
    assert (load.tool, load.label) == ("vllm bench, start times worked out", "2")
    assert load.run.sent_s.tolist() == pytest.approx([0.0, 0.0, 0.22])
    felt = score(load.run)
    assert felt.ttft.mean_s == pytest.approx(0.15) and felt.e2e.mean_s == pytest.approx(np.mean([0.22, 0.3]))
    (alone,) = _read(tmp_path, OLD_VLLM | {"request_rate": float("inf"), "max_concurrency": None})
    assert alone.run.sent_s.tolist() == [0.0, 0.0, 0.0], "SGLang writes its rate as JSON's Infinity"


@pytest.mark.parametrize("lines", [False, True])
def test_several_results_of_vllm_bench_are_several_loads(tmp_path: Path, lines: bool) -> None:
    """`--append-result` writes one after the other, a sweep a list."""
    found = _read(tmp_path, [VLLM, VLLM | {"max_concurrency": 4}], lines=lines)
    assert [load.label for load in found] == ["2", "4"]


def test_guidellm_whose_tpot_holds_the_first_token(tmp_path: Path) -> None:
    (load,) = _read(tmp_path, GUIDELLM)
    felt = score(load.run)
    assert (felt.ok, felt.failed, felt.itl.n) == (1, 1, 0)
    assert felt.tpot.mean_s == pytest.approx(0.4 / 4), "what GuideLLM calls inter-token latency"
    assert felt.ttft.mean_s == pytest.approx(0.6), "from when it was due"


def test_guidellm_says_of_a_closed_loop_that_all_were_due_at_its_beginning(tmp_path: Path) -> None:
    """0.5 and newer; what a request waited for a free place is what a closed loop does."""
    (load,) = GUIDELLM["benchmarks"]
    strategy = {"config": {"strategy": {"type_": "concurrent", "streams": 4}}}
    (closed,) = _read(tmp_path, {"benchmarks": [load | strategy]})
    assert (closed.label, closed.concurrency, score(closed.run).ttft.mean_s) == ("4", 4, pytest.approx(0.5))


def test_guidellm_0_2(tmp_path: Path) -> None:
    """It wrote the times under other names, and no kind of them under `info`."""
    when = {"targeted_start_time": 99.9, "request_start": 100.0}
    timed = {"start_time": 100.0, "end_time": 100.95, "first_token_time": 100.5, "last_token_time": 100.9}
    served = {"scheduler_info": when, "prompt_tokens": 10, "output_tokens": 5, **timed}
    refused = {"scheduler_info": when, "prompt_tokens": 10, "output_tokens": None, **timed, "error": REFUSED}
    old = {
        "args": {"strategy": {"type_": "synchronous"}},
        "request_totals": {"successful": 4, "errored": 1, "incomplete": 0, "total": 5},
        "requests": {"successful": [served], "errored": [refused | {"first_token_time": None}], "incomplete": []},
    }
    (load,) = _read(tmp_path, {"benchmarks": [old]})
    felt = score(load.run)
    assert (load.label, felt.ok, felt.rejected) == ("1", 1, 1)
    assert felt.ttft.mean_s == pytest.approx(0.5) and felt.tpot.mean_s == pytest.approx(0.4 / 4)
    assert [(gate.name, gate.held, gate.value) for gate in load.gates] == [("requests kept", False, 0.4)]


def test_aiperf(tmp_path: Path) -> None:
    (load,) = _read(tmp_path, AIPERF, lines=True)
    felt = score(load.run)
    assert (felt.offered, felt.ok, felt.failed) == (2, 1, 1)
    assert felt.ttft.mean_s == pytest.approx(0.3)
    assert felt.ttfa.mean_s == pytest.approx(0.4)
    assert felt.tpot.mean_s == pytest.approx(0.4 / 3), "what AIPerf calls inter-token latency"
    assert load.run.think_tokens.tolist() == [1, 0]


def test_inference_perf_of_two_versions(tmp_path: Path) -> None:
    (load,) = _read(tmp_path, INFERENCE_PERF)
    felt = score(load.run)
    assert felt.ok == 2
    assert felt.ttft.mean_s == pytest.approx(0.1)
    assert felt.tpot.mean_s == pytest.approx(np.mean([0.2, 0.1]))


def test_inference_perf_that_took_the_time_of_every_line(tmp_path: Path) -> None:
    """Up to 0.2 blank lines have times of their own: cut to as many as tokens, an answer would end halfway."""
    told = {"input_tokens": 7, "output_tokens": 3, "output_token_times": [5.1, 5.1, 5.3, 5.3, 5.5, 5.5, 5.5]}
    (load,) = _read(tmp_path, [{"start_time": 5.0, "end_time": 5.5, "info": told}])
    felt = score(load.run)
    assert (felt.ttft.mean_s, felt.tpot.mean_s, felt.e2e.mean_s) == pytest.approx((0.1, 0.2, 0.5))
    assert felt.itl.n == 0


def test_older_vllm_bench_lasts_as_long_as_it_says(tmp_path: Path) -> None:
    """A client takes a moment between requests; without it throughput would be too high by as much."""
    (load,) = _read(tmp_path, OLD_VLLM | {"max_concurrency": 1, "duration": 0.54})
    felt = score(load.run)
    assert felt.wall is not None
    assert (felt.wall.window_s, felt.ttft.mean_s) == pytest.approx((0.54, 0.15))


def _measured(name: str) -> Any:
    """Return what a real run of a tool wrote, cut to a few requests: our own measurements of a tiny model."""
    path = Path(__file__).parent / "measured" / name
    text = path.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    (load,) = read_results(path)
    return load, score(load.run), rows


def test_a_report_of_guidellm_0_8(tmp_path: Path) -> None:
    load, felt, report = _measured("guidellm-0.8.1.json")
    rows = report["benchmarks"][0]["requests"]["successful"]
    assert (load.label, felt.ok, felt.unfinished) == ("4/s", 5, 2)
    sent = load.run.first_token_s - load.run.sent_s
    theirs = [row["time_to_first_token_ms"] / 1e3 for row in rows]
    assert sorted(sent[load.run.served]) == pytest.approx(sorted(theirs), abs=1e-6), "it counts from when it sent"
    assert felt.tpot.mean_s == pytest.approx(np.mean([row["inter_token_latency_ms"] / 1e3 for row in rows]))
    assert felt.ttfa.n == 5
    report["benchmarks"][0]["requests"] = {
        "errored": [{**rows[0], "output_tokens": None, "info": {"timings": {"request_start": 1.0}, "error": REFUSED}}]
    }
    (refused,) = _read(tmp_path, report)
    assert (score(refused.run).rejected, refused.recordings[0].error) == (1, REFUSED)


def test_an_export_of_aiperf_0_13() -> None:
    load, felt, rows = _measured("aiperf-0.13.0.jsonl")
    ok = [row["metrics"] for row in rows[1:] if row["metrics"]]
    assert (felt.offered, felt.ok, felt.unfinished) == (6, 5, 1), "warm-up is left out"
    assert felt.tpot.mean_s == pytest.approx(np.mean([one["inter_token_latency"]["value"] / 1e3 for one in ok]))
    assert felt.e2e.n == 5
    took = (load.run.last_token_s - load.run.sent_s)[load.run.served]
    assert sorted(took) == pytest.approx(sorted(one["request_latency"]["value"] / 1e3 for one in ok), abs=1e-6)
    refused, felt, _ = _measured("aiperf-0.13.0-refused.jsonl")
    assert (felt.rejected, "`nosuch` does not exist" in refused.recordings[0].error) == (1, True)


def test_a_report_of_inference_perf_0_7_whose_text_makes_more_tokens_than_were_generated() -> None:
    load, felt, rows = _measured("inference-perf-0.7.0.json")
    said = [row["info"]["response_metrics"]["server_usage"]["completion_tokens"] for row in rows]
    assert load.run.output_tokens.tolist() == said
    assert felt.ttft.mean_s == pytest.approx(0.06719115066516679), "its own summary's"
    refused, felt, _ = _measured("inference-perf-0.7.0-refused.json")
    assert (felt.rejected, refused.recordings[0].error[:14]) == (1, "HTTP Error 404")


def test_answers_that_were_not_streamed_have_no_times(tmp_path: Path) -> None:
    whole = {"start_time": 5.0, "end_time": 5.5, "info": {"response_metrics": {"output_tokens": 3}}, "error": None}
    with pytest.raises(BadInputError, match="streaming"):
        _read(tmp_path, [whole])


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"x": 1}, "is no result of a load on a server"),
        ([], "is no result of a load on a server"),
        ({**VLLM, "start_times": None}, "not as its tool writes it"),
        (OLD_VLLM | {"duration": None}, "not as its tool writes it"),
        ({"benchmarks": [{"requests": {}}]}, "holds no request"),
        ({"benchmarks": "?"}, "not as its tool writes it"),
        (VLLM | {"input_lens": [100]}, "not as its tool writes it: IndexError"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, found: Any, names: str) -> None:
    with pytest.raises(BadInputError, match=names):
        _read(tmp_path, found)


def test_a_file_of_brackets_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[" * 100_000)
    with pytest.raises(BadInputError, match="cannot be read as JSON"):
        read_results(tmp_path / "r.json")


@pytest.mark.usefixtures("here")
def test_imported_results_are_scored_and_predicted(say: Any) -> None:
    Path("v.json").write_text(json.dumps(VLLM))
    said = say("bench", "llama-3.1-8b", "--on", "h100", "--import", "v.json", "--json")
    assert said.code == 0, said.err
    (point,) = said.document["points"]
    assert point["score"]["tpot"]["mean_s"] == pytest.approx(0.08)
    assert point["predicted"]["ok"] == 3
    assert point["concurrency"] == 2
    measured, predicted = (point[who]["wall"]["output_tokens_per_s"] for who in ("score", "predicted"))
    assert predicted > 3 * measured, "a closed loop is played as one: a faster server is sent more"
    assert point["errors"] == ["boom"]
