"""Tensors count and cut the way engines do."""

from __future__ import annotations

from sizewell.specs.encoding import FP8_BLOCK128, NVFP4
from sizewell.specs.layers import LatentAttention
from sizewell.specs.tensor import column_parallel, heads

# Qwen3-235B: 64 query heads and 4 key/value heads of 128, hidden 4096.
QKV = column_parallel("qkv", "attention", 4096, heads(64, 128), heads(4, 128), heads(4, 128))


def test_key_value_heads_replicate_beyond_their_number() -> None:
    assert QKV.rank_rows(4) == 16 * 128 + 2 * 128
    assert QKV.rank_rows(8) == 8 * 128 + 2 * 128


def test_parameters_are_rows_times_columns() -> None:
    assert QKV.parameters == (64 + 4 + 4) * 128 * 4096


def test_block_scales_round_up_to_whole_blocks() -> None:
    assert FP8_BLOCK128.bytes(129, 256) == 129 * 256 + 4 * 2 * 2


def test_nvfp4_takes_four_and_a_half_bits_and_three_scalars() -> None:
    assert NVFP4.bytes(256, 256) == 256 * 256 * 4.5 / 8 + 12


def test_the_latent_of_r1_is_the_same_on_every_rank() -> None:
    r1 = LatentAttention(
        heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )
    assert 61 * 2 * r1.rank_kv_elements_per_token(8) == 70_272
    assert r1.rank_kv_elements_per_token(1) == r1.rank_kv_elements_per_token(8)
