"""Cache arithmetic against published logs: uniform models, hybrid groups, latents."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sizewell.costs.cache_kinds import CacheKind, CacheRules, layer_kinds
from sizewell.costs.kv_cache import CacheLayout, cache_layout
from sizewell.specs.layers import Attention, GatedDeltaNet, LatentAttention, Layer
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor


def _layout(model: ModelSpec, kv_format: str = "auto", tp: int = 1, **rules: object) -> CacheLayout:
    made = CacheRules(**rules)  # type: ignore[arg-type]
    return cache_layout(layer_kinds(model, model.layer_counts.items(), kv_format, tp, made), made)


@pytest.mark.parametrize(("tp", "kv_format", "expected"), [(1, "auto", 327680), (4, "auto", 81920), (4, "fp8", 40960)])
def test_llama_70b_bytes_per_token(llama_70b: ModelSpec, tp: int, kv_format: str, expected: int) -> None:
    assert _layout(llama_70b, kv_format, tp).bytes_per_token == expected


def test_four_kv_heads_are_replicated_over_eight_ranks(dense_model: Callable[..., ModelSpec]) -> None:
    shape = dense_model(layers=94, hidden=4096, q=64, kv=4, dim=128, inter=1536, vocab=151936)
    assert _layout(shape, tp=4).bytes_per_token == _layout(shape, tp=8).bytes_per_token == 48128


@pytest.mark.parametrize("tp", [1, 2, 8, 16])
def test_the_latent_is_replicated_on_every_rank(r1: ModelSpec, tp: int) -> None:
    assert _layout(r1, tp=tp).bytes_per_token == 70272


def test_the_latent_row_was_padded_in_early_releases(r1: ModelSpec) -> None:
    assert _layout(r1, tp=8, latent_row_elements=640).bytes_per_token == 61 * 1280


def test_kv_format_does_not_depend_on_the_weight_format(r1: ModelSpec) -> None:
    assert r1.weight_format.startswith("fp8")
    assert _layout(r1).bytes_per_token == 2 * _layout(r1, "fp8").bytes_per_token


def test_blocks_are_tokens_over_block_size_whatever_tp(llama_70b: ModelSpec) -> None:
    one, four = _layout(llama_70b, tp=1), _layout(llama_70b, tp=4)
    assert one.request_blocks(8192) == four.request_blocks(8192) == 512
    assert one.bytes_per_block == 4 * four.bytes_per_block


def test_nemotron_hybrid_groups_equal_the_log() -> None:
    kinds = (
        CacheKind(kind="full", layers=6, token_bytes=512),
        CacheKind(kind="state", layers=23, state_bytes=2_138_112),
    )
    layout = cache_layout(kinds, CacheRules())
    assert (layout.block_tokens, layout.group_size, sum(layout.groups)) == (4176, 6, 5)
    blocks = int(94.45 * 2**30 // layout.bytes_per_block)
    assert blocks == 7905
    assert layout.printed_tokens(blocks) == 6_602_256
    assert layout.concurrency(blocks, 262_144) == pytest.approx(117.99, abs=0.01)


@pytest.mark.parametrize(
    ("states", "state_bytes", "caching", "printed"),
    [
        (6, 134_912, CacheRules(block_tokens=128), 310_613),
        (6, 134_912, CacheRules(block_tokens=128, cached_states=2), 266_240),
        (5, 137_216, CacheRules(block_tokens=128), 1_398_016),
        (5, 137_216, CacheRules(block_tokens=128, cached_states=1), 1_065_155),
    ],
    ids=["Falcon-H1", "Falcon-H1, prefixes cached", "Qwen3-Next", "Qwen3-Next, prefixes cached"],
)
def test_recurrent_models_fit_as_vllm_says(states: int, state_bytes: int, caching: CacheRules, printed: int) -> None:
    """Six layers of each family's shape in 1 GiB, started with vLLM 0.32 on a processor for 4,096 tokens."""
    kinds = (
        CacheKind(kind="state", layers=states, state_bytes=state_bytes),
        CacheKind(kind="full", layers=6 if states == 6 else 1, token_bytes=512),
    )
    layout = cache_layout(kinds, caching)
    assert layout.block_tokens == 384
    assert int(layout.concurrency(int(2**30 // layout.bytes_per_block), 4096) * 4096) == printed


def test_qwen38_block_is_enlarged_until_a_page_holds_the_state() -> None:
    kinds = (
        CacheKind(kind="state", layers=48, state_bytes=61_440 + 3_145_728),
        CacheKind(kind="full", layers=16, token_bytes=2048),
    )
    layout = cache_layout(kinds, CacheRules())
    assert layout.block_tokens == 1568
    page = layout.bytes_per_block / layout.group_size
    assert page / 3_207_168 - 1 == pytest.approx(0.0013, abs=1e-4)


def test_gemma_3_27b_groups_equal_the_log() -> None:
    kinds = (
        CacheKind(kind="window", layers=52, token_bytes=8192, span_tokens=1024),
        CacheKind(kind="full", layers=10, token_bytes=8192),
    )
    layout = cache_layout(kinds, CacheRules())
    assert (layout.group_size, sum(layout.groups)) == (10, 7)
    assert layout.printed_tokens(89_994) == 205_696


def test_a_latent_behind_a_wrapper_is_found_by_its_mixer_not_by_a_name(r1: ModelSpec) -> None:
    wrapped = [layer for layer in r1.layer_counts if isinstance(layer.mixer, LatentAttention)]
    kinds = layer_kinds(r1, [(layer, 27) for layer in wrapped[:1]], "auto", 8, CacheRules())
    assert kinds[0].token_bytes == 1152
    assert not any(isinstance(layer.mixer, Attention) for layer in wrapped if isinstance(layer, Layer))


def test_windows_are_full_attention_where_the_engine_does_not_group(dense_model: Callable[..., ModelSpec]) -> None:
    shape = dense_model(layers=32, hidden=4096, q=32, kv=8, dim=128, inter=14336, vocab=32000, window=4096)
    assert _layout(shape, grouped=False).request_blocks(32768) == 2048
    assert _layout(shape, in_flight_tokens=8192).request_blocks(32768) == (4095 + 8192 + 15) // 16 + 1


def test_gpt_oss_120b_equals_the_log() -> None:
    kinds = (
        CacheKind(kind="window", layers=18, token_bytes=2048, span_tokens=128),
        CacheKind(kind="full", layers=18, token_bytes=2048),
    )
    layout = cache_layout(kinds, CacheRules())
    assert layout.bytes_per_token == 73_728
    assert layout.printed_tokens(int(5.38 * 2**30 // layout.bytes_per_block)) == pytest.approx(78_384, rel=1e-3)


def test_llama_cpp_keeps_recurrent_states_in_four_bytes() -> None:
    mixer = GatedDeltaNet(key_heads=16, value_heads=48, key_dim=128, value_dim=128, conv_kernel=4)
    attention = Attention(heads=24, kv_heads=4, head_dim=256, v_head_dim=256)
    layers = [(Layer(mixer=mixer, mlp=None, tensors=()), 48), (Layer(mixer=attention, mlp=None, tensors=()), 16)]
    rules = CacheRules(block_tokens=256, style="flat", state_element_bytes=4, conv_element_bytes=4)
    layout = cache_layout(layer_kinds(_any_model(), layers, "fp16", 1, rules), rules)
    cells = layout.request_bytes(262_144) - layout.state_bytes_per_sequence
    assert cells == 16_384 * 2**20
    assert 4 * layout.state_bytes_per_sequence == pytest.approx(598.5 * 2**20, rel=1e-4)


def _any_model() -> ModelSpec:
    table = Tensor(name="embedding", role="embedding", rows=(), columns=None)
    return ModelSpec(
        name="any", architecture="any", hidden=1, vocabulary=1, max_context_tokens=1, layers=(), embedding=table,
        head=None, final_norm=(),
    )  # fmt: skip
