"""A stated deployment is filled in as the engine would, and refused where it cannot exist."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.planner.stated import Stated, stated_cut, stated_deployment
from sizewell.specs.deployment import Deployment, Formats, Parallelism
from sizewell.specs.errors import BadInputError
from specimens import deepseek_r1, llama_70b


def _deployment(stated: Stated, gpus: int = 8, nodes: int = 1) -> Deployment:
    place = cluster("h100", gpus_per_node=gpus, nodes=nodes)
    return stated_deployment(llama_70b(), place, read_engine("vllm"), Formats(), stated)


def test_nothing_said_is_tensor_parallel_in_the_node_and_pipeline_across_nodes() -> None:
    assert _deployment(Stated()).pools[0].parallelism == Parallelism(tp=8)
    assert _deployment(Stated(), nodes=2).pools[0].parallelism == Parallelism(tp=8, pp=2)


def test_a_smaller_cut_is_replicated() -> None:
    pool = _deployment(Stated(tp=2)).pools[0]
    assert (pool.parallelism.tp, pool.replicas) == (2, 4)


def test_settings_are_the_engines_own_unless_stated() -> None:
    engine = read_engine("vllm")
    gpu = cluster("h100", gpus_per_node=8).gpu
    usual = _deployment(Stated()).pools[0].settings
    assert usual.max_num_seqs == engine.defaults_for(gpu.name, gpu.memory_bytes).max_num_seqs
    assert usual.memory_fraction == engine.memory_fraction
    assert usual.max_model_len_tokens == llama_70b().max_context_tokens
    said = _deployment(Stated(max_num_seqs=7, memory_fraction=0.5, max_model_len_tokens=99)).pools[0].settings
    assert (said.max_num_seqs, said.memory_fraction, said.max_model_len_tokens) == (7, 0.5, 99)


def _share(on: str, engine: str, stated: Stated, gpus: int = 8, nodes: int = 1) -> float:
    place = cluster(on, gpus_per_node=gpus, nodes=nodes)
    deployment = stated_deployment(deepseek_r1(), place, read_engine("sglang", engine), Formats(), stated)
    return deployment.pools[0].settings.memory_fraction


def test_sglang_takes_the_share_its_release_works_out_for_the_cut() -> None:
    """0.5.9: 512 MiB, 1.5 a token of a chunk, 128 a rank and 2 a sequence of the largest batch stay free.

    0.4.6: 18 GiB.
    """
    mib = cluster("h200", gpus_per_node=8).gpu.total_bytes / 2**20
    free = 512 + 1.5 * 8192 + 8 * 128 + 2 * 512
    assert _share("h200", "0.5.9", Stated(tp=8)) == pytest.approx(1 - free / mib, abs=1e-3)
    assert _share("h200", "0.4.6", Stated(tp=8)) == pytest.approx(1 - 18 * 1024 / mib, abs=1e-3)
    assert _share("h200", "0.5.9", Stated(tp=8, memory_fraction=0.7)) == 0.7


def test_a_share_nobody_stated_holds_the_weights() -> None:
    """Sixteen attention ranks would reserve 36 GiB more: R1's weights do not fit what is left of an H100."""
    usual = read_engine("sglang", "0.5.23").memory_fraction
    assert _share("h100", "0.5.23", Stated(tp=1, dp=16, ep=16), nodes=2) == usual
    assert _share("h100", "0.5.23", Stated(tp=16), nodes=2) < usual


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (Stated(tp=16), "needs 16 accelerators, there are 8"),
        (Stated(tp=3), "does not divide over TP3"),
        (Stated(tp=2, ep=2), "routes to no experts"),
        (Stated(tp=2, ep=3), "EP is 1 or TP × DP = 2"),
        (Stated(max_model_len_tokens=10**7), "holds 131072 tokens of context"),
        (Stated(speculative_tokens=2), "no prediction layers"),
    ],
)
def test_what_cannot_exist_is_refused_in_one_line(stated: Stated, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        _deployment(stated)


def test_a_small_step_lowers_the_default_limit_on_sequences_as_vllm_does() -> None:
    assert _deployment(Stated(max_num_batched_tokens=64)).pools[0].settings.max_num_seqs == 64
    with pytest.raises(BadInputError, match="vLLM refuses to start"):
        _deployment(Stated(max_num_batched_tokens=64, max_num_seqs=65))
    place = cluster("h100", gpus_per_node=8)
    other = stated_deployment(
        llama_70b(), place, read_engine("sglang"), Formats(), Stated(max_num_batched_tokens=64, max_num_seqs=65)
    )
    assert other.pools[0].settings.max_num_seqs == 65


def test_experts_may_be_spread_over_all_ranks() -> None:
    place = cluster("h200", gpus_per_node=8)
    assert stated_cut(deepseek_r1(), place, Stated(tp=1, dp=8, ep=8)).gpus == 8


def test_drafts_beyond_reason_are_refused_before_they_are_priced() -> None:
    place = cluster("h200", gpus_per_node=8)
    with pytest.raises(BadInputError, match="at most 32"):
        stated_deployment(deepseek_r1(), place, read_engine("vllm"), Formats(), Stated(speculative_tokens=10**7))


def test_llama_cpp_gives_each_accelerator_some_layers_unless_a_cut_is_stated() -> None:
    place, engine = cluster("h100", gpus_per_node=4), read_engine("llama.cpp")
    usual = stated_deployment(llama_70b(), place, engine, Formats(), Stated())
    said = stated_deployment(llama_70b(), place, engine, Formats(), Stated(tp=2))
    assert usual.pools[0].parallelism == Parallelism(tp=1, pp=4)
    assert said.pools[0].parallelism == Parallelism(tp=2)
