"""What a benchmark sets where its table is silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planner.test_point_requests import ROW
from sizewell.planner.harnesses import (
    as_launched,
    drafts,
    keeps_prefixes,
    narrows_expert_rows,
    rank_tokens,
    receive_steps,
    streams_single_tokens,
)
from sizewell.planner.measured_point import PointRow
from sizewell.specs.deployment import Parallelism

HARNESS = "InferenceX-derived, eff. lengths 0.9x nominal"


def row(**changes: Any) -> PointRow:
    return replace(ROW, **({"engine_version": ""} | changes))


def test_room_for_one_prompt_in_a_step_of_tensorrt() -> None:
    """1,024 nominal tokens, 64 users and 64 to spare, in whole 64s."""
    launched = as_launched(row(engine="trtllm", notes=HARNESS, input_tokens=921.6, concurrency=64), "trtllm", "hopper")
    assert launched.max_num_batched_tokens == 1152
    assert launched.kv_format == "fp8"


def test_what_a_table_states_stays() -> None:
    stated = row(engine="sglang", notes=HARNESS, max_num_batched_tokens=4096, kv_format="bf16", engine_version="0.4.9")
    assert as_launched(stated, "sglang", "blackwell") == stated
    elsewhere = row(engine="sglang", notes="")
    assert as_launched(elsewhere, "sglang", "blackwell") == elsewhere


def test_room_for_a_prompt_and_1500_tokens_in_a_step_of_aiperf_runs() -> None:
    told = row(engine="vllm", notes="NVIDIA own AIPerf run", input_tokens=1000, concurrency=16)
    assert as_launched(told, "vllm", "hopper").max_num_batched_tokens == 2516
    assert as_launched(replace(told, engine="sglang"), "sglang", "hopper").max_num_batched_tokens is None


def test_sglang_on_blackwell_looks_for_requests_every_few_steps() -> None:
    few, many = (row(engine="sglang", notes=HARNESS, concurrency=users) for users in (4, 16))
    assert [receive_steps(one, "sglang", "blackwell") for one in (few, many)] == [10, 30]
    assert receive_steps(many, "sglang", "hopper") == 1
    assert receive_steps(replace(many, notes=""), "sglang", "blackwell") == 1


def test_prefix_caches_are_on_but_in_this_harness() -> None:
    assert keeps_prefixes(row(notes=""), "vllm")
    assert not keeps_prefixes(row(notes=HARNESS), "vllm")
    assert not streams_single_tokens(row(notes=HARNESS), "sglang")


def test_engines_draft_as_many_tokens_as_the_launch_scripts_say() -> None:
    """Three; two under SGLang there; one where ranks with attention of their own have many sequences."""
    alone, ranks = Parallelism(tp=8, ep=8), Parallelism(dp=8, ep=8)
    told = row(notes=HARNESS, speculative="mtp")
    assert drafts(row(notes=HARNESS), "sglang", alone, 64) == 0
    assert drafts(told, "sglang", ranks, 64) == 2
    assert drafts(replace(told, notes=""), "sglang", alone, 64) == 3
    assert [drafts(told, "trtllm", cut, 64) for cut in (alone, ranks)] == [3, 1]
    pools = replace(told, disaggregated="prefill … | decode …")
    assert [drafts(pools, "trtllm", ranks, 8 * users) for users in (64, 128)] == [3, 1]


def test_sglang_divides_the_tokens_of_a_step_among_its_ranks() -> None:
    ranks = Parallelism(dp=8, ep=8)
    assert rank_tokens(row(), "sglang", ranks, 16_384) == 2048
    assert rank_tokens(row(), "sglang", Parallelism(tp=8), 16_384) == 16_384
    assert rank_tokens(row(), "trtllm", ranks, 8192) == 8192
    long = row(notes=HARNESS, disaggregated="prefill …", input_tokens=7373.0)
    assert rank_tokens(long, "sglang", ranks, 32_768) == 8192, "a prompt of a pool fits its rank"


def test_sglang_on_eight_blackwell_cards_is_given_less_memory() -> None:
    eight = row(engine="sglang", notes=HARNESS, tp=8, weight_format="fp8")
    assert as_launched(eight, "sglang", "blackwell").memory_fraction == 0.82
    assert as_launched(replace(eight, weight_format="nvfp4"), "sglang", "blackwell").memory_fraction == 0.85
    assert as_launched(replace(eight, memory_fraction=0.7), "sglang", "blackwell").memory_fraction == 0.7
    assert as_launched(eight, "sglang", "hopper").memory_fraction is None


def test_experts_of_four_bits_are_multiplied_by_narrow_rows_where_the_harness_says_so() -> None:
    told = row(engine="vllm", model="openai/gpt-oss-120b", notes=HARNESS)
    assert narrows_expert_rows(told, "vllm", "blackwell")
    for changed, architecture in (
        ({"notes": ""}, "blackwell"),
        ({"model": "Qwen/Qwen3-32B"}, "blackwell"),
        ({}, "hopper"),
    ):
        assert not narrows_expert_rows(replace(told, **changed), "vllm", architecture)
    assert not narrows_expert_rows(told, "trtllm", "blackwell")


def test_how_many_requests_a_burst_has() -> None:
    """Stated, put as concurrency, or set by trtllm-bench's overview; else it goes on until nothing changes."""
    burst = row(engine="trtllm", load="offline", concurrency=None, input_tokens=2048.0, output_tokens=128.0)
    queued = [
        as_launched(one, "trtllm", "hopper").num_requests
        for one in (
            replace(burst, num_requests=7.0, concurrency=9.0),
            replace(burst, concurrency=9.0),
            replace(burst, notes="trtllm-bench offline max throughput"),
            replace(burst, notes="trtllm-bench offline max throughput", input_tokens=77.0),
            burst,
        )
    ]
    assert queued == [7.0, 9.0, 3000, None, None]
