"""What a benchmark sets where its table is silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planner.test_point_requests import ROW
from sizewell.planner.harnesses import (
    as_launched,
    keeps_prefixes,
    narrows_expert_rows,
    receive_steps,
    streams_single_tokens,
)
from sizewell.planner.measured_point import PointRow

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
