"""One deployment under one workload: consistent figures, and the published deployments come out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell import Setup, Stated, explain
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.planner.prediction import Prediction, steady_state
from sizewell.specs.deployment import Deployment, EngineSettings, Parallelism, Pool
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Workload

SETTINGS = EngineSettings(
    max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.92
)


def deployment(*pools: Pool, model: str = "deepseek-r1", gpu: str = "h200-sxm-141gb", nodes: int = 1) -> Deployment:
    per_node = 4 if nodes == 4 else 8
    return Deployment(
        model=read_model(model), weight_format="native", kv_format="auto", engine=read_engine("vllm"),
        cluster=cluster(gpu, gpus_per_node=per_node, nodes=nodes), pools=pools,
    )  # fmt: skip


def pool(cut: Parallelism, settings: EngineSettings = SETTINGS, replicas: int = 1, role: str = "both") -> Pool:
    return Pool(role=role, replicas=replicas, parallelism=cut, settings=settings)  # type: ignore[arg-type]


def predict(deployed: Deployment, **load: float) -> Prediction:
    workload = Workload(input_tokens=1000, answer_tokens=1000, **load)
    return steady_state(deployed, workload, read_efficiencies())


def test_the_figures_of_an_answer_agree() -> None:
    found = predict(deployment(pool(Parallelism(tp=8))), users=64)
    assert found.e2e_s.value == pytest.approx(found.ttft_s.value + 999 * found.tpot_s.value)
    assert found.requests_per_s.value == pytest.approx(64 / found.e2e_s.value)
    assert found.output_tokens_per_s.value == pytest.approx(1000 * found.requests_per_s.value)
    assert sum(found.parts.values()) > found.floor_s
    assert found.tpot_s.low < found.tpot_s.value < found.tpot_s.high


def test_r1_on_eight_h200_at_64_users_lies_above_the_weight_floor_and_near_what_peers_measure() -> None:
    found = predict(deployment(pool(Parallelism(tp=8))), users=64)
    assert found.tpot_s.value > 0.0152
    assert 0.025 < found.tpot_s.value < 0.045


def test_the_kempner_deployment_is_bound_by_launches_and_links_not_by_bandwidth() -> None:
    """Sixteen H100 on four nodes, eager: about 9.3 tokens/s a sequence from 8 to 112 sequences, measured."""
    eager = replace(SETTINGS, enforce_eager=True, max_model_len_tokens=2048, max_num_seqs=256)
    deployed = deployment(pool(Parallelism(tp=16), eager), gpu="h100-sxm-80gb", nodes=4)
    workload = Workload(input_tokens=128, answer_tokens=512, users=1)
    for users in (8, 32, 64, 112):
        found = steady_state(deployed, replace(workload, users=users), read_efficiencies())
        assert found.bound_by in {"launch", "link latency"}
        assert found.tpot_s.low <= 1 / 9.3 <= found.tpot_s.high
        waiting = found.parts["launch"] + found.parts["collectives"]
        assert waiting > 0.6 * sum(found.parts.values())
        assert found.floor_s < 0.2 * found.tpot_s.value


def test_more_arrivals_than_can_be_served_are_called_saturated() -> None:
    found = predict(deployment(pool(Parallelism(tp=8))), rate_per_s=500.0)
    assert found.saturated
    assert found.ttft_s.value == float("inf")


def test_a_separate_prefill_pool_keeps_prompts_out_of_decode_steps() -> None:
    together = predict(deployment(pool(Parallelism(tp=8), replicas=2), nodes=2), users=128)
    front, back = (pool(Parallelism(tp=8), role=role) for role in ("prefill", "decode"))
    apart = predict(deployment(front, back, nodes=2), users=64)
    assert apart.requests_per_s.value == pytest.approx(64 / apart.e2e_s.value)
    assert apart.tpot_s.value < together.tpot_s.value


def test_a_shared_prefix_shortens_the_first_token() -> None:
    deployed = deployment(pool(Parallelism(tp=8)))
    found = [
        steady_state(
            deployed,
            Workload(input_tokens=6000, answer_tokens=200, users=16, shared_prefix_tokens=shared),
            read_efficiencies(),
        )
        for shared in (0, 5000)
    ]
    assert found[1].ttft_s.value < 0.7 * found[0].ttft_s.value
    assert found[1].output_tokens_per_s.value > found[0].output_tokens_per_s.value


def test_offloaded_weights_cost_their_passage_over_the_host_link() -> None:
    offloading = replace(SETTINGS, offload_bytes=10e9)
    here, there = (predict(deployment(pool(Parallelism(tp=8), s)), users=4) for s in (SETTINGS, offloading))
    assert there.parts["host link"] >= 10e9 / 64e9
    assert there.tpot_s.value > here.tpot_s.value + 10e9 / 64e9


def test_pools_that_make_no_service_are_refused() -> None:
    with pytest.raises(BadInputError, match="prefill"):
        predict(deployment(pool(Parallelism(tp=8), role="prefill")), users=1)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_users_behind_one_system_prompt_share_its_blocks_in_the_form_and_in_the_play(engine: str) -> None:
    """A cache of about 300,000 tokens holds 36 requests of 8,500, but 120 and more that have 6,000 in common."""
    load = Workload(users=80, input_tokens=8000, shared_prefix_tokens=6000, answer_tokens=500)
    found = explain("qwen3-32b", "2xh100", load, Setup(engine=engine))
    assert found.served is not None and found.rehearsal is not None
    assert found.memory.concurrency(8500) < 60
    assert not found.served.saturated
    assert found.rehearsal.stated.holds
    own = (found.memory.kv_tokens - 6000) / 2500
    assert found.rehearsal.most_at_once == pytest.approx(own, rel=0.02)
    alone = explain("qwen3-32b", "2xh100", replace(load, shared_prefix_tokens=0), Setup(engine=engine))
    assert alone.served is not None and alone.served.saturated


def test_room_that_is_set_aside_for_each_sequence_is_not_shared() -> None:
    load = Workload(users=2, input_tokens=4000, shared_prefix_tokens=3500, answer_tokens=500)
    found = explain("qwen3-8b", "1xl40s", load, Setup(engine="llama.cpp", stated=Stated(max_num_seqs=256)))
    assert found.served is not None
    assert found.served.most_sequences_per_replica <= found.memory.concurrency(4250)
