"""The advisor prices with the planner's own steps, and its causes add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sizewell.advisor.advice import Adviser
from sizewell.advisor.mix import Mix
from sizewell.advisor.observation import Observation
from sizewell.advisor.pace import pace
from sizewell.planner.prediction import steady_state
from sizewell.specs.deployment import Deployment
from sizewell.traffic.workload import Workload

Deploy = Callable[..., Deployment]
CASES: list[tuple[str, str, dict[str, Any], Workload]] = [
    ("llama-3.1-8b", "h100", {}, Workload(input_tokens=500, answer_tokens=300, users=32)),
    ("llama-3.1-70b", "4xh100", {"tp": 4}, Workload(input_tokens=3000, answer_tokens=200, users=24)),
    ("r1", "8xh200", {"tp": 8}, Workload(input_tokens=1000, answer_tokens=1000, users=64)),
    ("r1", "8xh200", {"tp": 1, "dp": 8, "ep": 8}, Workload(input_tokens=1000, answer_tokens=1000, users=128)),
    ("r1", "16xh100", {"tp": 8, "pp": 2}, Workload(input_tokens=200, answer_tokens=800, users=64)),
    ("r1", "8xh200", {"speculative_tokens": 1}, Workload(input_tokens=200, answer_tokens=800, users=16)),
    ("qwen3-4b", "rtx-4090", {"enforce_eager": True}, Workload(input_tokens=100, answer_tokens=400, users=4)),
]


@pytest.mark.parametrize(("model", "on", "said", "load"), CASES, ids=[f"{c[0]} {c[1]} {c[2]}" for c in CASES])
def test_the_time_between_tokens_is_the_planners(
    deploy: Deploy, adviser: Adviser, model: str, on: str, said: dict[str, Any], load: Workload
) -> None:
    deployment = deploy(model, on, **said)
    planned = steady_state(deployment, load, adviser.efficiencies)
    sequences = planned.sequences_per_replica * deployment.pools[0].replicas
    mix = Mix.of_workload(load, sequences, prefix_caching=True)
    found = pace(deployment, mix, sequences, adviser.efficiencies)
    # Users who start together wait for some of each other's prompts before their first token, in the planner's eyes.
    assert found.token_s == pytest.approx(planned.tpot_s.value, rel=0.12)
    assert sum(found.causes.values()) == pytest.approx(found.cycle_s)
    assert sum(found.between.values()) == pytest.approx(found.token_s)
    assert found.floor_s <= found.token_s <= found.cycle_s
    assert 0 < found.mfu <= 1 and 0 < found.mbu <= 1


@pytest.mark.parametrize(
    ("engine", "sequences", "passes"), [("vllm@0.33", 1, 1), ("vllm@0.33", 8, 1), ("sglang", 8, 4)]
)
def test_stages_that_wait_for_others_move_nothing(
    deploy: Deploy, adviser: Adviser, engine: str, sequences: int, passes: int
) -> None:
    """One batch in four stages reads the weights once where four accelerators could; four batches, four times."""
    deployment = deploy("llama-3.1-70b", "4xl40s", tp=1, pp=4, engine=engine, max_model_len_tokens=4096)
    mix = Mix(in_flight=sequences, prompt_tokens=20, output_tokens=200)
    found = pace(deployment, mix, sequences, adviser.efficiencies)
    read = passes * 2 * (deployment.model.parameters - 128_256 * 8192)  # embeddings are looked up
    assert found.mbu == pytest.approx(read / (4 * 864e9) / found.cycle_s, rel=0.05)
    assert found.mbu < 0.25 * passes


def test_what_a_cache_finds_is_not_computed() -> None:
    cold = Mix(in_flight=1, prompt_tokens=1000, output_tokens=101)
    assert cold.computed_tokens == 10.0
    warm = Mix(in_flight=1, prompt_tokens=1000, output_tokens=101, cached_fraction=0.9, lost_tokens=0.5)
    assert warm.computed_tokens == pytest.approx(1.5)
    assert cold.context_tokens == warm.context_tokens == 1050.5


def test_lengths_come_from_the_cache_where_no_request_ended() -> None:
    seen = Observation(
        running=10, waiting=0, kv_used_fraction=0.5, kv_tokens=20_000, generated_tokens_per_s=100.0,
        prompt_tokens_per_s=200.0, itl_s=0.1,
    )  # fmt: skip
    mix = Mix.of_observation(seen)
    assert mix is not None
    # 1,000 tokens each; two of prompt for one of output, half of which is there.
    assert mix.context_tokens == pytest.approx(1000)
    assert mix.prompt_tokens == pytest.approx(2 * mix.output_tokens)


@pytest.mark.parametrize(
    ("model", "on", "said"),
    [
        ("llama-3.1-8b", "1xh100", {"offload_bytes": 8 * 2.0**30}),
        ("r1", "1xrtx-4090", {"offload_bytes": 366 * 2.0**30, "weight_format": "gguf-q4_k_m", "engine": "llama.cpp"}),
    ],
)
def test_weights_in_host_memory_are_what_one_user_waits_for(
    deploy: Deploy, adviser: Adviser, model: str, on: str, said: dict[str, Any]
) -> None:
    load = Workload(input_tokens=1000, answer_tokens=500, users=1)
    deployment = deploy(model, on, **said)
    planned = steady_state(deployment, load, adviser.efficiencies)
    found = pace(deployment, Mix.of_workload(load, 1, prefix_caching=True), 1, adviser.efficiencies)
    assert found.token_s == pytest.approx(planned.tpot_s.value, rel=0.02)
    assert max(found.causes, key=lambda name: found.causes[name]) == "offloaded weights"
    assert sum(found.between.values()) == pytest.approx(found.token_s)
    link = deployment.cluster.gpu.host_link_bytes_per_s
    if deployment.engine.offload == "streams" and link:
        assert found.floor_s >= said["offload_bytes"] / link
