"""Activation peaks against published start-up logs, by release and model class."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.activations import activation_line
from sizewell.costs.rank_memory import rank_memory
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


ENVELOPES = [
    ("meta-llama/Llama-3.3-70B-Instruct", 4, "0.11.2", 5.50),
    ("meta-llama/Llama-3.3-70B-Instruct", 4, "0.15.0", 5.43),
    ("meta-llama/Llama-3.3-70B-Instruct", 4, "0.18.0", 4.16),
    ("meta-llama/Llama-3.3-70B-Instruct", 4, "0.20.0", 5.08),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, "0.13.0", 5.50),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, "0.20.0", 5.05),
    ("Qwen/Qwen3-VL-30B-A3B-Instruct", 1, "0.13.0", 6.17),
    ("Qwen/Qwen3-VL-30B-A3B-Instruct", 1, "0.15.0", 6.67),
    ("Qwen/Qwen3-VL-30B-A3B-Instruct", 1, "0.18.0", 3.37),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 1, "0.13.0", 4.97),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 1, "0.18.0", 2.19),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 1, "0.20.0", 2.78),
    ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 2, "0.18.0", 4.02),
    ("Qwen/Qwen3-235B-A22B", 4, "0.11.2", 6.28),
    ("deepseek-ai/DeepSeek-R1", 8, "0.13.0", 5.77),
    ("deepseek-ai/DeepSeek-R1", 8, "0.16.0", 5.81),
    ("deepseek-ai/DeepSeek-R1", 8, "0.18.0", 6.10),
    ("deepseek-ai/DeepSeek-V3.2", 8, "0.18.0", 6.10),
    ("moonshotai/Kimi-K2.5", 8, "0.18.0", 4.98),
]


@pytest.mark.parametrize(
    ("name", "tp", "version", "gib"), ENVELOPES, ids=[f"{n}-{v}".rpartition("/")[2] for n, _, v, _ in ENVELOPES]
)
def test_what_lies_beside_weights_and_cache_equals_the_logs_by_release(
    name: str, tp: int, version: str, gib: float
) -> None:
    """Share − weights − cache on H200s at the default batch limits, the cells the rules reach.

    docs/memory-ledger.md lists the ten they do not, among them R1 in 0.11.2, 0.14 and 0.20.
    """
    settings = EngineSettings(
        max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.9
    )
    memory = rank_memory(read_model(name), Formats(), Parallelism(tp=tp), settings, read_engine("vllm", version))
    assert memory.inside_bytes / GIB == pytest.approx(gib, abs=0.12)


@pytest.mark.parametrize(
    ("name", "tp", "gib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 1, 1.89),
        ("Qwen/Qwen2.5-7B-Instruct", 1, 2.25),
        ("Qwen/Qwen3-14B", 1, 2.21),
        ("deepseek-ai/DeepSeek-V2-Lite", 1, 1.93),
        ("mistralai/Mixtral-8x7B-v0.1", 4, 1.21),
        ("Qwen/Qwen3-30B-A3B", 1, 2.68),
        ("google/gemma-3-27b-it", 1, 3.94),
    ],
)
def test_peaks_by_architecture_in_0_19(name: str, tp: int, gib: float) -> None:
    """The table names architectures, not checkpoints or ranks: Mixtral's four are ours (on two the rule says 1.50)."""
    assert _peak(name, "0.19.0", tp) / GIB == pytest.approx(gib, rel=0.08)
