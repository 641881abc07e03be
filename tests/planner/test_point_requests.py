"""A measured load is sent as its benchmark sends it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.point_facts import point_facts
from sizewell.costs.machines import Reached
from sizewell.planner.measured_point import PointRow
from sizewell.planner.played_points import Player
from sizewell.planner.point_cases import PointCase, point_case
from sizewell.planner.point_requests import is_played, offered
from sizewell.planner.validate_points import predict_point

ROW = PointRow(
    point_id="made", dataset="own", date="", engine="vllm", engine_version="0.15.1", model="meta-llama/Llama-3.1-8B",
    weight_format="bf16", kv_format="", gpu="h100-sxm-80gb", num_gpus=2, num_nodes=1, tp=1, pp=1, ep=1, dp=1,
    load="closed_loop", concurrency=32.0, request_rate_per_s=None, num_requests=None, input_tokens=900.0,
    output_tokens=180.0, shared_prefix_tokens=0.0, max_num_seqs=None, max_num_batched_tokens=None, memory_fraction=None,
    eager=False, speculative="", attention_dp=False, disaggregated="", trust="A", notes="",
    metrics={"ttft_mean_s": 0.1, "tpot_mean_s": 0.01},
)  # fmt: skip


def case(**changes: object) -> PointCase:
    row = replace(ROW, **changes)  # type: ignore[arg-type]
    return point_case(row, point_facts(row))


def test_users_are_spread_over_replicas_and_send_ten_requests_each() -> None:
    one = case()
    sent = offered(one, one.choices[0][0].layout.replicas, 0.0, 0.01)
    assert one.choices[0][0].layout.replicas == 2
    assert (sent.concurrency, len(sent), sent.think_s) == (16, 160, 0.01)
    assert np.abs(sent.input_tokens - 900).max() <= 5


def test_lengths_of_inferencex_vary_as_its_harness_draws_them() -> None:
    one = case(notes="InferenceX-derived")
    tokens = offered(one, 2, 0.0, 0.0).input_tokens
    assert 800 <= tokens.min() < 820
    assert 980 < tokens.max() <= 1000


def test_open_arrivals_meet_their_rate_and_an_offline_run_comes_at_once() -> None:
    poisson = case(load="open_loop", concurrency=None, request_rate_per_s=8.0, num_requests=4000.0)
    sent = offered(poisson, 2, 4.0, 0.0)
    assert len(sent) / sent.arrival_s[-1] == pytest.approx(4.0, rel=0.1)
    burst = case(load="offline", concurrency=None, num_requests=500.0)
    assert not offered(burst, 2, 0.0, 0.0).arrival_s.any()


def test_what_a_table_leaves_open_is_not_played() -> None:
    assert is_played(case())
    assert not is_played(case(load="offline", concurrency=None))
    assert not is_played(case(load="static_batch"))
    assert not is_played(case(load="open_loop", concurrency=None, request_rate_per_s=2.0, notes="MLPerf v4.1"))


def test_a_played_point_agrees_with_itself() -> None:
    one = case()
    reached = Reached.of(one.machines, read_efficiencies(), also=one.tags)
    found = Player().play(one, reached)
    assert found is not None
    assert found == Player().play(one, reached)
    whole = found["ttft_mean_s"] + 179 * found["tpot_mean_s"]
    assert found["e2e_mean_s"] == pytest.approx(whole, rel=0.01)
    assert found["ttft_median_s"] <= found["ttft_p90_s"] <= found["ttft_p99_s"]
    assert found["output_tokens_per_s"] == pytest.approx(180 * found["requests_per_s"], rel=0.01)
    # Little's law: 32 users are served or waiting all the time, but for the ends of the run.
    assert found["requests_per_s"] * found["e2e_mean_s"] == pytest.approx(32, rel=0.15)


POOLS = "prefill tp8 ep1 dpattn=False workers=1 gpus=8 | decode tp8 ep8 dpattn=True workers=2 gpus=16"


def split_case(users: float) -> PointCase:
    """R1 on a prefill replica and two decode replicas of eight H200."""
    return case(
        engine="dynamo-sglang", engine_version="0.5.8", model="deepseek-ai/DeepSeek-R1", gpu="h200-sxm-141gb",
        weight_format="fp8", num_gpus=24, num_nodes=None, tp=None, pp=None, ep=None, dp=None, concurrency=users,
        input_tokens=4096.0, output_tokens=256.0, disaggregated=POOLS,
    )  # fmt: skip


def test_two_pools_are_played_whole() -> None:
    few, many = split_case(4.0), split_case(64.0)
    reached = Reached.of(few.machines, read_efficiencies(), also=few.tags)
    calm, busy = (Player().play(one, reached) for one in (few, many))
    assert calm is not None
    assert busy is not None
    for found, users in ((calm, 4), (busy, 64)):
        # Little's law over the whole deployment, but for the ends of the run.
        assert found["requests_per_s"] * found["e2e_mean_s"] == pytest.approx(users, rel=0.15)
    # Prompts have a pool of their own: more of them wait, tokens hardly notice.
    assert busy["ttft_mean_s"] > 3 * calm["ttft_mean_s"]
    assert busy["tpot_mean_s"] < 2 * calm["tpot_mean_s"]


@pytest.mark.parametrize(
    ("gpu", "stated", "nodes"),
    [("gb200-186gb", 1, 2), ("gb200-186gb", None, 2), ("h100-sxm-80gb", 1, 1), ("h100-sxm-80gb", 2, 2)],
)
def test_a_source_that_counts_a_rack_as_a_node_gets_as_many_as_hold_its_accelerators(
    gpu: str, stated: int | None, nodes: int
) -> None:
    machines = point_facts(replace(ROW, gpu=gpu, num_gpus=8, num_nodes=stated)).cluster
    assert (machines.nodes, machines.gpus) == (nodes, 8)


def test_what_ran_is_answered_though_no_layout_leaves_room_for_a_cache() -> None:
    """A 405B in 8 bits needs 50 GB of each of eight cards of 24: it was measured, so the arithmetic is owed."""
    tight = case(
        model="neuralmagic/Meta-Llama-3.1-405B-Instruct-FP8", gpu="a10g-24gb", num_gpus=8, tp=None, pp=None, ep=None,
        dp=None, concurrency=4.0,
    )  # fmt: skip
    assert len(tight.choices) > 1
    assert all(answer.predicted for answer in predict_point(tight, read_efficiencies()))


def test_sglang_drops_attention_data_parallelism_of_one_way() -> None:
    """`--enable-dp-attention` without `--dp-size` does nothing there; TensorRT-LLM takes all ranks."""
    asked = {"model": "deepseek-ai/DeepSeek-R1", "num_gpus": 8, "tp": 8, "attention_dp": True, "weight_format": "fp8"}
    ways = {
        (engine, dp): case(engine=engine, dp=dp, **asked).choices[0][0].layout.cut.dp
        for engine, dp in (("sglang", 1), ("sglang", 8), ("sglang", None), ("trtllm", 1))
    }
    assert ways == {("sglang", 1): 1, ("sglang", 8): 8, ("sglang", None): 8, ("trtllm", 1): 8}


def test_conversations_vary_within_what_benchmarks_keep_of_them() -> None:
    one = case(load="offline", concurrency=None, num_requests=3000.0, notes="ShareGPT", input_tokens=220.0)
    sent = offered(one, 2, 0.0, 0.0)
    assert sent.input_tokens.mean() == pytest.approx(220, rel=0.02)
    assert sent.output_tokens.mean() == pytest.approx(180, rel=0.02)
    assert 900 < sent.input_tokens.max() <= 1100
    # Exponential: the longest of n answers is about ln n means.
    assert 5 < sent.output_tokens.max() / 180 < 11
    alike = replace(one, row=replace(one.row, dataset="llmservingsim_vllm_traces"))
    answers = offered(alike, 2, 0.0, 0.0).output_tokens
    assert answers.std() / answers.mean() == pytest.approx(0.15, rel=0.1)


def test_a_front_end_hands_a_burst_on_when_it_has_read_all_of_it() -> None:
    """Only vLLM's, and only where requests are served: every first token waits for the whole burst to be read."""
    burst = {"load": "offline", "concurrency": None, "num_requests": 200.0, "num_gpus": 1}
    first = {}
    for engine, command in (("vllm", "vllm serve"), ("vllm", "benchmark_throughput.py"), ("trtllm", "trtllm-serve")):
        one = case(engine=engine, engine_version="", notes=f"{command}; random", **burst)
        reached = Reached.of(one.machines, read_efficiencies(), also=one.tags)
        slower = replace(reached, factors={**reached.factors, "accept_s": reached.factors["accept_s"] + 0.01})
        found = [Player().play(one, each) for each in (reached, slower)]
        assert found[0] is not None and found[1] is not None
        first[command] = found[1]["ttft_mean_s"] - found[0]["ttft_mean_s"]
    assert first == pytest.approx({"vllm serve": 2.0, "benchmark_throughput.py": 0.0, "trtllm-serve": 0.0})


def test_mlperf_fills_the_cache_where_tensorrt_would_keep_room_for_answers() -> None:
    """Half an answer of 180 tokens is kept free beside a mean context of 900 + 90."""
    kept, filled = (
        case(engine="trtllm", engine_version="", notes=notes).choices[0][0].kv_tokens for notes in ("", "MLPerf v4.1")
    )
    assert filled / kept == pytest.approx(1 + 90 / 990, rel=1e-2)


def test_prompts_of_a_shared_prefix_load_return() -> None:
    """Nine system prompts for five users are 45 prompts: of those that return, the last block is computed."""
    notes = "shared prefix: 9 system prompts x 5 users, system 100 tok, question 447 tok; stages 5 req/s for 60s"
    one = case(load="open_loop", concurrency=None, input_tokens=547.0, shared_prefix_tokens=100.0, notes=notes)
    sent = offered(one, 2, 5.0, 0.0)
    assert (one.lengths.prompt_tokens, one.lengths.cached_tokens) == (16.0, 531.0)
    assert sorted(set(sent.segment_id.tolist())) == list(range(45))
    assert sent.segment_tokens.tolist() == [531] * len(sent)


def test_the_prompts_of_a_static_batch_are_one_step() -> None:
    """Twice the batch or twice the prompt is twice the tokens, and nearly twice the time to the first one."""

    def ttft(users: float, tokens: float) -> float:
        one = case(load="static_batch", engine="trtllm", engine_version="0.9.0", num_gpus=1, concurrency=users,
                   input_tokens=tokens)  # fmt: skip
        found = next(p.predicted for p in predict_point(one, read_efficiencies()) if p.metric.startswith("ttft"))
        assert found is not None
        return found.value

    assert ttft(128, 128) == pytest.approx(2 * ttft(64, 128), rel=0.05)
    assert ttft(64, 256) == pytest.approx(2 * ttft(64, 128), rel=0.05)
    assert ttft(16, 128) > ttft(1, 128)


def test_llama_cpp_decodes_a_static_batch_together() -> None:
    """A step of eight sequences takes longer than one of one, and far less than eight of those."""

    def tpot(users: float) -> float:
        one = case(load="static_batch" if users > 1 else "single", engine="llama.cpp", engine_version="b6989",
                   weight_format="gguf-q8_0", gpu="rtx-4090-24gb", num_gpus=1, tp=1, concurrency=users)  # fmt: skip
        found = next(p.predicted for p in predict_point(one, read_efficiencies()) if p.metric.startswith("tpot"))
        assert found is not None
        return found.value

    assert 1.01 * tpot(1) < tpot(8) < 4 * tpot(1)


def test_what_was_measured_fitted() -> None:
    """R1 in 8 bits leaves four B200 no cache at the usual share of memory: its run was given more."""
    r1 = {"model": "deepseek-ai/DeepSeek-R1-0528", "weight_format": "fp8", "gpu": "b200-sxm-180gb", "engine": "sglang",
          "engine_version": "0.5.12", "num_gpus": 4, "tp": 4, "kv_format": "fp8", "max_num_batched_tokens": 16_384,
          "input_tokens": 7373.0, "output_tokens": 922.0}  # fmt: skip
    pool = case(**r1).choices[0][0]
    assert pool.settings.memory_fraction == 0.95
    assert pool.kv_tokens > 32 * 8300
    assert case(**r1 | {"memory_fraction": 0.88}).choices[0][0].settings.memory_fraction == 0.88
