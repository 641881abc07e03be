"""The ledger of whole deployments: logs, verdicts and invariants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.engine_rules import cache_rules, caches_prefixes
from sizewell.costs.ledger import GIB, MemoryLedger, ledger, ledger_of
from sizewell.costs.overhead import adapter_line
from sizewell.costs.rank_memory import RankMemory, rank_memory
from sizewell.specs.deployment import Deployment, EngineSettings, Formats, Parallelism, Pool
from sizewell.specs.model import ModelSpec

SETTINGS = EngineSettings(
    max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.92
)
H200, H100 = 139.81 * GIB, 79.18 * GIB


def _rank(model: ModelSpec, version: str, settings: EngineSettings = SETTINGS, **sizes: int) -> RankMemory:
    return rank_memory(model, Formats(), Parallelism(**sizes), settings, read_engine("vllm", version))


def _ledger(model: ModelSpec, version: str, gpu: float = H200, **sizes: int) -> MemoryLedger:
    return ledger_of(_rank(model, version, **sizes), gpu)


def test_r1_on_eight_h200_is_near_the_log(r1: ModelSpec) -> None:
    found = _ledger(r1, "0.11.2", tp=8)
    assert found.fits
    assert found.kv_bytes / GIB == pytest.approx(41.6, rel=0.05)
    assert found.kv_bytes_per_token == 70272


def test_lines_add_up_to_the_total(r1: ModelSpec) -> None:
    found = _ledger(r1, "0.19.1", tp=8)
    assert sum(line.bytes for line in found.lines) == found.total_bytes
    assert found.total_bytes + found.headroom_bytes == found.gpu_bytes
    assert all(line.low <= line.bytes <= line.high for line in found.lines)
    assert found.kv_figure.low <= found.kv_bytes <= found.kv_figure.high


def test_every_line_explains_itself_with_its_numbers(r1: ModelSpec) -> None:
    for line in _ledger(r1, "0.19.1", tp=8).lines:
        assert line.explain().endswith(f"= {round(line.bytes):,} B")


def test_activation_is_counted_on_every_gpu_not_once_a_replica(llama_70b: ModelSpec) -> None:
    def peak(tp: int) -> float:
        return sum(line.bytes for line in _rank(llama_70b, "0.19.1", tp=tp).overhead if "activation" in line.name)

    assert peak(4) == peak(8) > 1.5 * GIB


def test_zero_cache_is_a_verdict(llama_70b: ModelSpec) -> None:
    assert _ledger(llama_70b, "0.19.1", gpu=H100).verdict == "weights do not fit"
    tight = _ledger(llama_70b, "0.19.1", gpu=73 * GIB, tp=2)
    assert tight.verdict == "no room for KV cache"
    assert (tight.kv_blocks, tight.kv_tokens, tight.fits, tight.exit_code) == (0, 0, False, 3)


def test_one_sequence_must_fit(llama_70b: ModelSpec) -> None:
    long = replace(SETTINGS, max_model_len_tokens=4_000_000)
    memory = _rank(llama_70b, "0.19.1", long, tp=4)
    assert ledger_of(memory, H100).verdict == "one sequence does not fit"


def test_pipeline_blocks_are_the_minimum_over_stages(r1: ModelSpec) -> None:
    memory = _rank(r1, "0.19.1", tp=4, pp=2)
    rooms = memory.kv_bytes(H200)
    per_stage = [int(room // s.layout.bytes_per_block) for room, s in zip(rooms, memory.stages, strict=True)]
    assert memory.blocks(H200) == min(per_stage)
    assert len(set(per_stage)) == 2


@given(fraction=st.floats(0.3, 0.98), gib=st.floats(100, 300))
def test_blocks_times_block_bytes_never_exceed_the_room(r1: ModelSpec, fraction: float, gib: float) -> None:
    found = ledger_of(_rank(r1, "0.19.1", replace(SETTINGS, memory_fraction=fraction), tp=8), gib * GIB)
    cache = next(line for line in found.lines if line.name == "KV cache")
    assert cache.bytes <= max(found.kv_bytes, 0)
    assert found.kv_bytes - cache.bytes < found.layout.bytes_per_block or found.kv_bytes < 0


def test_rank_memory_is_cheap_enough_for_a_search(r1: ModelSpec) -> None:
    from timeit import repeat

    engine, cut = read_engine("vllm", "0.19.1"), Parallelism(tp=8)
    best = min(repeat(lambda: rank_memory(r1, Formats(), cut, SETTINGS, engine), number=20, repeat=5)) / 20
    assert best < 2e-3


def test_the_draft_layer_costs_weights_and_cache_only_when_it_is_used(r1: ModelSpec) -> None:
    plain, draft = (
        _rank(r1, "0.19.1", replace(SETTINGS, speculative_tokens=tokens), tp=8) for tokens in (0, 1)
    )  # fmt: skip
    assert draft.kv_bytes_per_token - plain.kv_bytes_per_token == 1152
    assert draft.weight_bytes > plain.weight_bytes + GIB


@pytest.mark.parametrize(
    ("version", "logged_gib"),
    [("0.11.2", 5.50), ("0.13.0", 5.50), ("0.15.0", 5.43), ("0.18.0", 4.16), ("0.20.0", 5.08)],
)
def test_what_llama_70b_takes_beside_weights_and_cache_by_release(
    llama_70b: ModelSpec, version: str, logged_gib: float
) -> None:
    assert _rank(llama_70b, version, tp=4).inside_bytes / GIB == pytest.approx(logged_gib, abs=0.15)


@pytest.mark.parametrize(("version", "logged_gib"), [("0.13.0", 5.77), ("0.16.0", 5.81), ("0.18.0", 6.10)])
def test_what_r1_takes_beside_weights_and_cache_by_release(r1: ModelSpec, version: str, logged_gib: float) -> None:
    assert _rank(r1, version, tp=8).inside_bytes / GIB == pytest.approx(logged_gib, abs=0.15)


def _deployment(gpu: str, gpus: int, engine: str, weight: str = "native", **settings: object) -> Deployment:
    chosen = replace(SETTINGS, **settings)
    return Deployment(
        model=read_model("deepseek-ai/DeepSeek-R1" if gpus == 8 else "meta-llama/Llama-3.1-8B-Instruct"),
        weight_format=weight,
        kv_format="auto",
        engine=read_engine(engine),
        cluster=cluster(gpu, gpus_per_node=gpus),
        pools=(Pool(role="both", replicas=1, parallelism=Parallelism(tp=gpus), settings=chosen),),
    )


@pytest.mark.parametrize("gpu", ["h200-sxm-141gb", "mi300x-192gb", "b200-sxm-180gb"])
def test_r1_fits_eight_large_accelerators(gpu: str) -> None:
    found = ledger(_deployment(gpu, 8, "vllm"))
    assert found.fits
    assert found.gpu_bytes < cluster(gpu, gpus_per_node=8).gpu.memory_bytes
    assert found.concurrency(8192) > 40


def test_r1_on_eight_h100_is_refused_in_words() -> None:
    found = ledger(_deployment("h100-sxm-80gb", 8, "vllm"))
    assert (found.verdict, found.kv_tokens) == ("weights do not fit", 0)


def test_a_unified_machine_counts_what_it_reports() -> None:
    found = ledger(_deployment("gb10-128gb", 1, "vllm", max_num_seqs=256, max_num_batched_tokens=2048))
    assert found.fits
    assert found.budget_bytes < 0.93 * 121.7 * GIB


def test_sglang_keeps_its_request_table_outside_the_share() -> None:
    found = ledger(_deployment("h200-sxm-141gb", 8, "sglang", max_num_seqs=2049, max_model_len_tokens=131_072))
    table = next(line for line in found.lines if line.name == "request table")
    assert table.place == "outside"
    assert table.bytes == pytest.approx(1.0 * GIB, rel=1e-3)
    assert found.kv_bytes_per_token == 70_272


def test_llama_cpp_leaves_the_embedding_on_the_host_and_fits_a_consumer_card() -> None:
    settings = {"max_num_seqs": 4, "max_num_batched_tokens": 512, "max_model_len_tokens": 8192}
    found = ledger(_deployment("rtx-3090-24gb", 1, "llama.cpp", "gguf-q4_k_m", **settings))
    assert found.fits
    assert not any(line.name == "weights: embedding" for line in found.lines)
    assert found.weight_bytes / GIB == pytest.approx(4.58 - 0.28, abs=0.15)


def test_adapters_take_two_factors_of_every_matrix(llama_8b: ModelSpec) -> None:
    adapters = adapter_line(llama_8b, Parallelism(), adapters=1, rank=16)
    inputs = 3 * 4096 + 4096 + 2 * 4096 + 14336
    outputs = 4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096
    assert adapters.bytes == 32 * 16 * (inputs + outputs) * 2


@given(gib=st.floats(10, 300), more=st.floats(0, 100), tp_log=st.integers(0, 2))
def test_more_memory_or_more_ranks_never_hold_fewer_blocks(
    llama_8b: ModelSpec, gib: float, more: float, tp_log: int
) -> None:
    narrow, wide = (_rank(llama_8b, "0.16.0", tp=2**n) for n in (tp_log, tp_log + 1))
    assert narrow.blocks(gib * GIB) <= narrow.blocks((gib + more) * GIB)
    # Two ranks first pay for collectives, which one rank does not.
    assert wide.blocks((gib + 1) * GIB) >= narrow.blocks(gib * GIB)


@pytest.mark.parametrize(
    ("name", "version", "more"),
    [
        ("qwen3-next-80b-a3b-instruct", "0.14.0", 0), ("qwen3-next-80b-a3b-instruct", "0.33", 1),
        ("nemotron-3-nano", "0.26.0", 1), ("nemotron-3-nano", "0.33", 2),
    ],
)  # fmt: skip
def test_a_prefix_cache_takes_more_states_of_recurrent_models(name: str, version: str, more: int) -> None:
    model, engine, settings = read_model(name), read_engine("vllm", version), replace(SETTINGS, prefix_caching=True)
    assert cache_rules(model, settings, engine).state_blocks == 1 + more
    assert cache_rules(model, replace(settings, prefix_caching=False), engine).state_blocks == 1
    assert not caches_prefixes(model, engine), "it is priced without, and so started without"


def test_whatever_keeps_no_state_is_priced_with_its_prefix_cache(r1: ModelSpec) -> None:
    assert caches_prefixes(r1, read_engine("vllm"))
    assert caches_prefixes(read_model("qwen3-next-80b-a3b-instruct"), read_engine("sglang"))
