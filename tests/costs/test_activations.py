"""Activation peaks against published start-up logs, by release and model class."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.activations import activation_line
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

GIB = 2**30


def _peak(name: str, version: str, tp: int = 1, *, rows: int = 1024, tokens: int = 8192) -> float:
    settings = EngineSettings(
        max_num_seqs=rows, max_num_batched_tokens=tokens, max_model_len_tokens=8192, memory_fraction=0.9
    )
    return activation_line(
        read_model(name), Formats(), Parallelism(tp=tp), settings, read_engine("vllm", version)
    ).bytes


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 4.76),
        ("Qwen/Qwen3-0.6B", 5.56),
        ("Qwen/Qwen3-32B", 5.64),
        ("openai/gpt-oss-20b", 7.38),
    ],
)
def test_the_sampler_decides_until_0_16_even_for_a_small_model(name: str, gib: float) -> None:
    assert _peak(name, "0.11.0") / GIB == pytest.approx(gib, rel=0.02)


def test_fewer_sequences_return_sampler_memory() -> None:
    saved = _peak("Qwen/Qwen3-32B", "0.11.0") - _peak("Qwen/Qwen3-32B", "0.11.0", rows=256)
    assert 3.5 * GIB < saved < 5.5 * GIB


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_logits_are_whole_on_every_rank(tp: int) -> None:
    name = "meta-llama/Llama-3.3-70B-Instruct"
    assert _peak(name, "0.18.0", tp) == _peak(name, "0.18.0", 1)


def test_a_long_prompt_profiled_whole_is_bound_by_the_forward_pass() -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    peaks = [_peak(name, "0.6.4", rows=256, tokens=tokens) / GIB for tokens in (20_000, 29_000)]
    assert peaks == pytest.approx([2.07, 2.99], rel=0.01)


def test_a_peak_never_shrinks_with_the_batch() -> None:
    peaks = [_peak("Qwen/Qwen3-30B-A3B", "0.19.0", tokens=tokens) for tokens in (1024, 2048, 8192, 65536)]
    assert peaks == sorted(peaks)
