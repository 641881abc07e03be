"""Cache layouts of whole models as engines print them: hybrids, windows and enlarged blocks."""

from __future__ import annotations

import pytest

from sizewell.catalog.models import read_model
from sizewell.costs.cache_kinds import CacheRules, layer_kinds
from sizewell.costs.kv_cache import CacheLayout, cache_layout

GIB = 2**30


def _layout(name: str, kv_format: str = "auto", tp: int = 1, **rules: object) -> CacheLayout:
    model, made = read_model(name), CacheRules(**rules)  # type: ignore[arg-type]
    return cache_layout(layer_kinds(model, model.layer_counts.items(), kv_format, tp, made), made)


@pytest.mark.parametrize(
    ("name", "tp", "kv_format", "expected"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", 4, "fp8", 40_960),
        ("Qwen/Qwen3-235B-A22B", 8, "auto", 48_128),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 1, "auto", 98_304),
        ("deepseek-ai/DeepSeek-R1", 8, "auto", 70_272),
        ("deepseek-ai/DeepSeek-V3.2", 8, "auto", 78_324),
        ("zai-org/GLM-5-FP8", 8, "auto", 100_152),
        ("moonshotai/Kimi-K2.5", 8, "auto", 70_272),
        ("moonshotai/Kimi-VL-A3B-Instruct", 8, "auto", 27 * 1152),
        ("MiniMaxAI/MiniMax-M2.7", 2, "auto", 126_976),
        ("openai/gpt-oss-120b", 1, "auto", 73_728),
    ],
)
def test_bytes_per_token_equal_the_log(name: str, tp: int, kv_format: str, expected: int) -> None:
    assert _layout(name, kv_format, tp).bytes_per_token == expected


def test_nemotron_3_nano_blocks_and_concurrency_equal_the_log() -> None:
    layout = _layout("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "fp8")
    blocks = int(94.45 * GIB // layout.bytes_per_block)
    assert (layout.block_tokens, blocks, layout.printed_tokens(blocks)) == (4176, 7905, 6_602_256)
    assert layout.concurrency(blocks, 262_144) == pytest.approx(117.99, abs=0.01)


def test_qwen_3_8_27b_block_equals_the_log() -> None:
    assert _layout("Qwen/Qwen3.8-27B-FP8", "fp8").block_tokens == 1568


def test_gemma_3_27b_tokens_equal_the_log() -> None:
    assert _layout("google/gemma-3-27b-it").printed_tokens(89_994) == 205_696


def test_zamba_2_block_and_padding_equal_the_log() -> None:
    layout = _layout("Zyphra/Zamba2-2.7B")
    state = next(kind.state_bytes for kind in layout.kinds if kind.kind == "state")
    assert layout.block_tokens == 48
    assert layout.bytes_per_block / layout.group_size / state == pytest.approx(1.4312, abs=1e-4)


def test_rows_half_as_wide_fill_pages_with_twice_the_tokens() -> None:
    """Gemma-4-E2B caches 512-wide heads in three layers and 256-wide ones in twelve windows of 512.

    A published log with two batches of 2,048 tokens in flight: 4.66 GiB hold 31.72 sequences of 16,384 tokens. Each
    takes 1,024 blocks of 16 tokens and, in four groups, ceil(4,607 / 32) + 1 blocks of 32.
    """
    layout = _layout("google/gemma-4-E2B-it", in_flight_tokens=4096)
    assert layout.request_blocks(16_384) == 1024 + 4 * 145
    assert layout.bytes_per_block == 3 * 16 * 2048
    assert layout.concurrency(int(4.66 * GIB // layout.bytes_per_block), 16_384) == pytest.approx(31.72, rel=1e-3)


def test_a_sequence_that_decodes_holds_of_a_window_what_it_sees() -> None:
    """Gemma 3 27B, 2,300 tokens, 8,192 in flight: admitted with all of them in every group of layers, decoding with
    1,024 in those with a window (and a block that it goes on in).
    """
    layout = _layout("google/gemma-3-27b-it", in_flight_tokens=8192)
    groups = dict(zip((kind.kind for kind in layout.kinds), layout.groups, strict=True))
    assert layout.request_blocks(2300) == 144 * groups["full"] + 145 * groups["window"]
    assert layout.decoding_blocks(2300) == 144 * groups["full"] + 65 * groups["window"]
    assert layout.decoding_blocks(100) <= layout.request_blocks(100)
