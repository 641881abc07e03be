"""Weights of one rank as engines print them after loading, checkpoint by checkpoint and format by format."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.models import read_model
from sizewell.costs.engine_rules import weight_rules
from sizewell.costs.expert_padding import Mxfp4Padding
from sizewell.costs.rank_memory import rank_memory
from sizewell.costs.weights import WeightRules, rank_weight_bytes
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

GIB = 2**30
SETTINGS = EngineSettings(max_num_seqs=256, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.9)
LOGGED = [
    ("meta-llama/Meta-Llama-3-8B", 1, 14.9595, 1e-4),
    ("Qwen/Qwen3-8B", 1, 15.2683, 1e-3),
    ("Qwen/Qwen2.5-32B-Instruct", 2, 30.7098, 1e-3),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 2, 30.7293, 1e-3),
    ("Qwen/Qwen3-30B-A3B", 1, 56.88, 1e-3),
    ("Qwen/Qwen3-30B-A3B", 4, 14.2474, 1e-3),
    ("Qwen/Qwen3-235B-A22B", 4, 109.6068, 1e-3),
    ("mistralai/Mixtral-8x22B-Instruct-v0.1", 8, 32.7642, 1e-3),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, 16.9619, 1e-3),
    ("nm-testing/Meta-Llama-3-8B-Instruct-FP8", 1, 8.4596, 1e-3),
    ("deepseek-ai/DeepSeek-R1", 8, 79.583, 1e-3),
    ("deepseek-ai/DeepSeek-V3.2", 8, 80.62, 5e-3),
    ("zai-org/GLM-5-FP8", 8, 89.34, 5e-3),
    ("moonshotai/Kimi-K2.5", 8, 72.02, 3e-3),
    ("nvidia/DeepSeek-R1-FP4", 4, 94.5, 1e-2),
    ("Qwen/Qwen2-VL-7B-Instruct", 1, 15.5083, 1e-2),
    ("Qwen/Qwen2.5-VL-72B-Instruct", 4, 34.43, 1e-2),
    ("google/gemma-2-2b-it", 1, 4.8999, 1e-3),
]


@pytest.mark.parametrize(("name", "tp", "gib", "tolerance"), LOGGED, ids=[f"{n}-TP{t}" for n, t, _, _ in LOGGED])
def test_weights_equal_the_log(name: str, tp: int, gib: float, tolerance: float) -> None:
    found = max(rank_weight_bytes(read_model(name), "native", Parallelism(tp=tp))) / GIB
    assert found == pytest.approx(gib, rel=tolerance)


def test_awq_counts_packed_elements_scales_and_zeros_not_parameters() -> None:
    found = max(rank_weight_bytes(read_model("meta-llama/Llama-3.1-70B-Instruct"), "awq-int4", Parallelism())) / GIB
    assert found == pytest.approx(37.09, rel=2e-3)


def test_gptq_of_phi_4_equals_the_log() -> None:
    found = max(rank_weight_bytes(read_model("microsoft/phi-4"), "gptq-int4", Parallelism())) / GIB
    assert found == pytest.approx(8.511, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "padding", "gib"),
    [
        ("openai/gpt-oss-120b", "inputs", 64.38),
        ("openai/gpt-oss-120b", "both", 65.965),
        ("openai/gpt-oss-20b", "inputs", 13.47),
    ],
)
def test_gpt_oss_pads_its_packed_experts_as_the_kernel_wants(name: str, padding: Mxfp4Padding, gib: float) -> None:
    rules = WeightRules(mxfp4_padding=padding)
    found = max(rank_weight_bytes(read_model(name), "native", Parallelism(), rules)) / GIB
    assert found == pytest.approx(gib, rel=3e-3)


@pytest.mark.parametrize(
    ("name", "tp", "gib"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", 1, 131.62),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 1, 79.29),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 8, 126.72),
    ],
)
def test_rocm_keeps_a_padded_copy_of_16_bit_experts(name: str, tp: int, gib: float) -> None:
    found = max(rank_weight_bytes(read_model(name), "native", Parallelism(tp=tp), WeightRules(rocm=True))) / GIB
    assert found == pytest.approx(gib, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "tp", "gib"),
    [("Qwen/QwQ-32B", 4, 15.54), ("Qwen/Qwen3-14B", 4, 7.08), ("meta-llama/Meta-Llama-3-8B", 2, 7.5)],
)
def test_free_memory_goes_down_by_whole_segments(name: str, tp: int, gib: float) -> None:
    """SGLang prints the drop: o_proj and down_proj of the Qwens leave 1.5 MiB of a segment unused, Llama's none."""
    found = max(rank_weight_bytes(read_model(name), "native", Parallelism(tp=tp), WeightRules(reserved=True))) / GIB
    assert gib - 0.06 < found < gib


@pytest.mark.parametrize(("version", "gib"), [("0.7.3", 83.88), ("0.11.0", 79.583)])
def test_the_first_latent_release_kept_absorbed_products(version: str, gib: float) -> None:
    rules = weight_rules(SETTINGS, read_engine("vllm", version))
    found = max(rank_weight_bytes(read_model("deepseek-ai/DeepSeek-R1"), "native", Parallelism(tp=8), rules)) / GIB
    assert found == pytest.approx(gib, rel=2e-3)


def test_early_releases_hold_a_latent_models_head_on_every_stage() -> None:
    """DeepSeek-V3 on 32 cards, 0.6.6: 16.958 GiB on the driver, 16.969 on its neighbours of the first stage."""
    rules = weight_rules(SETTINGS, read_engine("vllm", "0.6.6"))
    stages = rank_weight_bytes(read_model("deepseek-ai/DeepSeek-V3"), "native", Parallelism(tp=8, pp=4), rules)
    assert stages[0] / GIB == pytest.approx(16.958, rel=2e-3)


def test_rocm_counts_what_its_runtime_loads() -> None:
    """Qwen3-4B on Strix Halo."""
    found = max(rank_weight_bytes(read_model("Qwen/Qwen3-4B"), "native", Parallelism(), WeightRules(rocm=True))) / GIB
    assert found == pytest.approx(7.6785, rel=1e-2)


@pytest.mark.parametrize(
    ("gpu", "padding"),
    [
        ("h100-sxm-80gb", "inputs"),
        ("a100-sxm-80gb", "both"),
        ("rtx-5090-32gb", "both"),
        ("b200-sxm-180gb", "wide"),
        ("mi300x-192gb", "wide"),
    ],
)
def test_the_kernel_of_mxfp4_experts_follows_the_accelerator(gpu: str, padding: str) -> None:
    card = read_gpu(gpu)
    assert read_engine("vllm", "0.11.0").on(card.vendor, card.compute_capability).mxfp4_padding == padding


def test_deep_stack_buffers_are_loaded_with_the_weights() -> None:
    """Qwen3-VL-235B on four ranks: 0.69 GiB more than the language model."""
    model, cut = read_model("Qwen/Qwen3-VL-235B-A22B-Instruct"), Parallelism(tp=4)
    memory = rank_memory(model, Formats(), cut, SETTINGS, read_engine("vllm", "0.18.0"))
    text = max(rank_weight_bytes(replace(model, vision=()), "native", cut))
    assert (memory.weight_bytes - text) / GIB == pytest.approx(0.69, abs=0.01)


def test_sglang_loads_deepseek_v4_on_hopper_with_the_loaders_scales_and_a_wide_output() -> None:
    """Until 0.5.15: a float32 scale per 32 expert weights stays, and o_a is served in 16 bits. Logged: 125.65 GiB."""
    model, hopper = read_model("deepseek-ai/DeepSeek-V4-Pro"), read_gpu("h200-sxm-141gb")

    def held(version: str, capability: str | None) -> float:
        engine = read_engine("sglang", version).on("nvidia", capability)
        return max(rank_weight_bytes(model, "native", Parallelism(tp=8), weight_rules(SETTINGS, engine)))

    july, fixed, blackwell = (
        held("0.5.14", hopper.compute_capability),
        held("0.5.16", hopper.compute_capability),
        held("0.5.16", "10.0"),
    )
    experts = model.layers[0].mlp.experts * 3 * 7168 * 3072 / 8  # type: ignore[union-attr]
    assert july - fixed == pytest.approx(len(model.layers) * experts / 32 * 4, rel=1e-3)
    o_a = 128 * 512 // 16 * 16 * 1024 / 8
    assert fixed - blackwell == pytest.approx(len(model.layers) * o_a, rel=2e-2)
    assert july / GIB == pytest.approx(125.65, rel=0.01)


def test_the_first_engine_of_0_8_keeps_no_products_of_latent_projections() -> None:
    """A published log of R1 in AWQ on sixteen 24 GB cards prints 21.21 GiB."""
    cut, engine = Parallelism(tp=16), read_engine("vllm", "0.8.3 V0").on("nvidia", "8.6")
    memory = rank_memory(read_model("cognitivecomputations/DeepSeek-R1-AWQ"), Formats(), cut, SETTINGS, engine)
    assert memory.weight_bytes / GIB == pytest.approx(21.21, rel=0.002)
