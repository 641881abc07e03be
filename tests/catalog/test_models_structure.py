"""Layer kinds, windows, context lengths, rope tables and state types of released models."""

from __future__ import annotations

import timeit

import pytest

from sizewell.catalog.models import list_models, read_model
from sizewell.costs.cache_kinds import CacheRules, layer_kinds
from sizewell.specs.errors import BadInputError
from sizewell.specs.layers import (
    Attention,
    CompressedAttention,
    GatedDeltaNet,
    KimiDelta,
    LatentAttention,
    Mamba2,
    ShortConvolution,
)


def spans(name: str) -> list[int | None]:
    return [mixer.span_tokens for mixer in read_model(name).cached_layers if isinstance(mixer, Attention)]


WINDOWS = [
    ("google/gemma-2-9b-it", 4096, 21, 21), ("google/gemma-3-27b-it", 1024, 52, 10),
    ("openai/gpt-oss-120b", 128, 18, 18), ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8192, 36, 12),
    ("mistralai/Mistral-7B-v0.1", 4096, 32, 0), ("mistralai/Mistral-7B-Instruct-v0.3", None, 0, 32),
    ("Qwen/Qwen2.5-7B-Instruct", None, 0, 28), ("LGAI-EXAONE/EXAONE-4.0-32B", 4096, 48, 16),
    ("XiaomiMiMo/MiMo-V2-Flash", 128, 39, 9), ("google/gemma-4-31B-it", 1024, 50, 10),
    ("microsoft/phi-4", None, 0, 40), ("google/gemma-3n-E4B-it", 512, 28, 7), ("google/gemma-4-E2B-it", 512, 28, 7),
]  # fmt: skip


@pytest.mark.parametrize(("name", "window", "local", "full"), WINDOWS)
def test_windows(name: str, window: int | None, local: int, full: int) -> None:
    found = spans(name)
    assert found.count(None) == full
    assert len(found) - found.count(None) == local
    assert {span for span in found if span} == ({window} if window else set())


MIXERS: list[tuple[str, dict[type, int]]] = [
    ("deepseek-ai/DeepSeek-R1", {LatentAttention: 61}), ("deepseek-ai/DeepSeek-V3.2", {LatentAttention: 61}),
    ("zai-org/GLM-5.2", {LatentAttention: 78}), ("meituan-longcat/LongCat-Flash-Chat", {LatentAttention: 56}),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", {GatedDeltaNet: 36, Attention: 12}),
    ("moonshotai/Kimi-Linear-48B-A3B-Instruct", {KimiDelta: 20, LatentAttention: 7}),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {Mamba2: 23, Attention: 6}),
    ("ai21labs/Jamba-v0.1", {Mamba2: 28, Attention: 4}), ("tiiuae/Falcon-H1-7B-Instruct", {Mamba2: 44, Attention: 44}),
    ("LiquidAI/LFM2-1.2B", {ShortConvolution: 10, Attention: 6}),
    ("deepseek-ai/DeepSeek-V4-Flash", {CompressedAttention: 43}),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", {Attention: 49}),
    ("mistralai/Mamba-Codestral-7B-v0.1", {Mamba2: 64}), ("Zyphra/Zamba2-2.7B", {Mamba2: 54, Attention: 9}),
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", {Attention: 32}), ("xai-org/grok-2", {Attention: 64}),
    ("MiniMaxAI/MiniMax-M1-80k", {KimiDelta: 70, Attention: 10}), ("OpenGVLab/InternVL3-78B", {Attention: 80}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kinds"), MIXERS)
def test_mixers(name: str, kinds: dict[type, int]) -> None:
    found: dict[type, int] = {}
    for layer in read_model(name).layers:
        if layer.mixer is not None:
            found[type(layer.mixer)] = found.get(type(layer.mixer), 0) + 1
    assert found == kinds


CONTEXTS = [
    ("deepseek-ai/DeepSeek-R1", 163_840), ("meta-llama/Llama-3.1-8B-Instruct", 131_072),
    ("google/gemma-3-27b-it", 131_072), ("moonshotai/Kimi-K2-Instruct", 131_072),
    ("moonshotai/Kimi-K2.5", 262_144), ("openai/gpt-oss-120b", 131_072), ("mistralai/Mistral-7B-v0.1", 32_768),
    ("moonshotai/Kimi-Linear-48B-A3B-Instruct", 1_048_576), ("Qwen/Qwen3-32B", 40_960),
    ("mistralai/Ministral-3-3B-Reasoning-2512", 262_144), ("tiiuae/falcon-7b-instruct", 2048),
    ("microsoft/Phi-3.5-mini-instruct", 131_072), ("deepseek-ai/DeepSeek-V4-Flash", 1_048_576),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tokens"), CONTEXTS)
def test_context_lengths_are_what_vllm_derives(name: str, tokens: int) -> None:
    assert read_model(name).max_context_tokens == tokens


def test_a_yarn_factor_counts_from_the_original_positions() -> None:
    stretched = read_model(
        "Qwen/Qwen2.5-7B-Instruct",
        assume=('rope_scaling={"type":"yarn","factor":4.0,"original_max_position_embeddings":32768}',),
    )
    assert stretched.max_context_tokens == 131_072


ROPE = [
    ("deepseek-ai/DeepSeek-R1", ((163_840, 64),)), ("meta-llama/Llama-3.1-8B-Instruct", ((131_072, 128),)),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", ()), ("Qwen/Qwen3-Next-80B-A3B-Instruct", ((262_144, 64),)),
    ("google/gemma-3-27b-it", ((131_072, 128), (131_072, 128))), ("moonshotai/Kimi-Linear-48B-A3B-Instruct", ()),
    ("google/gemma-4-31B-it", ((262_144, 256), (262_144, 128))), ("openai/gpt-oss-120b", ((131_072, 64),)),
    ("XiaomiMiMo/MiMo-V2-Flash", ((262_144, 64), (262_144, 64))), ("ibm-granite/granite-4.0-h-small", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tables"), ROPE)
def test_rope_tables(name: str, tables: tuple[tuple[int, int], ...]) -> None:
    assert read_model(name).rope_tables == tables


@pytest.mark.parametrize(
    ("name", "tied"),
    [("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", False), ("Qwen/Qwen2.5-1.5B", True), ("google/gemma-3-4b-it", True),
     ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", False), ("Qwen/Qwen2-VL-2B-Instruct", True),
     ("Qwen/Qwen2-VL-7B-Instruct", False), ("meta-llama/Llama-3.2-3B-Instruct", True),
     ("mistralai/Ministral-3-3B-Reasoning-2512", True)],
)  # fmt: skip
def test_tied_embeddings(name: str, tied: bool) -> None:
    assert read_model(name).tied is tied


@pytest.mark.parametrize(
    ("name", "state_bytes"),
    [("Qwen/Qwen3.5-27B", 4), ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 4), ("ai21labs/Jamba-v0.1", 2)],
)
def test_recurrent_state_types(name: str, state_bytes: int) -> None:
    assert read_model(name).recurrent_state_dtype_bytes == state_bytes


def test_indexers_sit_where_the_file_says() -> None:
    for name, owners in (("zai-org/GLM-5.2", 21), ("zai-org/GLM-5.1", 78), ("deepseek-ai/DeepSeek-V3.2", 61)):
        model = read_model(name)
        assert sum(any(t.role == "indexer" for t in la.tensors) for la in model.layers) == owners


def test_latents_are_replicated_and_heads_cut() -> None:
    by_name = {t.name: t for t in read_model("r1").layers[0].tensors}
    assert by_name["self_attn.fused_qkv_a_proj"].rank_parameters(8) == (1536 + 576) * 7168
    for name in ("self_attn.q_b_proj", "self_attn.kv_b_proj", "self_attn.o_proj"):
        assert by_name[name].rank_parameters(8) * 8 == by_name[name].parameters


def test_a_dense_layer_is_four_fused_matrices() -> None:
    matrices = [t for t in read_model("llama-3.1-8b").layers[0].tensors if t.is_matrix]
    assert [t.name for t in matrices] == [
        "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj",
    ]  # fmt: skip


def test_all_experts_of_a_layer_are_two_stacks() -> None:
    stacks = [t for t in read_model("qwen3-30b-a3b").layers[0].tensors if t.role == "routed-experts"]
    assert [(t.name, t.matrices) for t in stacks] == [("mlp.experts.w13", 128), ("mlp.experts.w2", 128)]


@pytest.mark.parametrize(("name", "caching"), [("google/gemma-3n-E4B-it", 20), ("google/gemma-4-E2B-it", 15)])
def test_layers_that_reuse_a_cache_keep_no_rows_of_their_own(name: str, caching: int) -> None:
    model = read_model(name)
    kinds = layer_kinds(model, model.layer_counts.items(), "auto", 1, CacheRules())
    assert sum(kind.layers for kind in kinds) == caching
    reading = next(la for la in model.layers if isinstance(la.mixer, Attention) and la.mixer.reuses_cache)
    projection = next(t for t in reading.tensors if t.name == "self_attn.qkv_proj")
    assert len(projection.rows) == 1


def test_published_sizes_of_models_whose_files_were_not_read() -> None:
    """Billions on the model pages; Gemma 3n also stores keys and values that no engine needs."""
    billions = {
        "MiniMaxAI/MiniMax-Text-01": 456, "OpenGVLab/InternVL3-8B": 7.94, "OpenGVLab/InternVL3_5-8B": 8.53,
        "OpenGVLab/InternVL3-78B": 78.4, "zai-org/GLM-4.1V-9B-Thinking": 10.29, "google/gemma-4-E2B-it": 5.1,
        "google/gemma-4-E4B-it": 8.0, "xai-org/grok-2": 269.5, "Snowflake/snowflake-arctic-instruct": 480,
    }  # fmt: skip
    for name, published in billions.items():
        assert read_model(name).parameters / 1e9 == pytest.approx(published, rel=0.01), name
    unused = {"google/gemma-3n-E4B-it": (7.85, 15), "google/gemma-3n-E2B-it": (5.44, 10)}
    for name, (published, layers) in unused.items():
        stored = layers * (2 * 2048 * 2 * 256 + 256)
        assert (read_model(name).parameters + stored) / 1e9 == pytest.approx(published, rel=0.001), name


def test_equal_layers_are_one_object() -> None:
    for entry in list_models():
        model = read_model(entry.id)
        assert len({id(layer) for layer in model.layers}) == len(model.layer_counts) <= 40


@pytest.mark.parametrize("name", ["openai/gpt-oss-20b", "Qwen/Qwen3.5-27B", "ibm-granite/granite-4.0-h-small"])
def test_a_kind_of_layer_we_do_not_know_is_refused(name: str) -> None:
    count = len(read_model(name).layers)
    listed = ", ".join(['"telepathy"'] * count)
    with pytest.raises(BadInputError, match="layer_types is 'telepathy', expected only"):
        read_model(name, assume=(f"layer_types=[{listed}]",))


def test_a_warm_read_takes_a_few_milliseconds() -> None:
    read_model("r1")
    best = min(timeit.repeat(lambda: read_model("r1"), number=1, repeat=5))
    assert best < 0.03


def test_prediction_layers_are_counted_apart() -> None:
    model = read_model("r1")
    assert len(model.mtp_layers) == 1
    assert model.mtp_parameters > 11e9
    assert model.parameters == 671_026_404_352


def test_architectures_are_spread_over_all_structures() -> None:
    assert len({entry.architecture for entry in list_models()}) >= 60
