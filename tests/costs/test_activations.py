"""Activation peaks against published start-up logs, by release and model class."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.activations import activation_line
from sizewell.costs.lines import LedgerLine
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


def _line(name: str, version: str, *, sort_free: bool = False) -> LedgerLine:
    engine = read_engine("vllm", version)
    if sort_free:
        engine = replace(engine, sampler_copies=engine.sort_free_copies, sort_free_copies=0.0)
    settings = EngineSettings(
        max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.9
    )
    return activation_line(read_model(name), Formats(), Parallelism(), settings, engine)


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
    ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 2, "0.18.0", 4.02),
    ("Qwen/Qwen3-235B-A22B", 4, "0.11.2", 6.28),
    ("mistralai/Ministral-3-14B-Instruct-2512", 1, "0.13.0", 5.12),
    ("mistralai/Ministral-3-14B-Instruct-2512", 1, "0.18.0", 2.28),
    ("mistralai/Ministral-3-14B-Instruct-2512", 1, "0.20.0", 2.83),
    ("deepseek-ai/DeepSeek-R1", 8, "0.11.2", 7.28),
    ("deepseek-ai/DeepSeek-R1", 8, "0.13.0", 5.77),
    ("deepseek-ai/DeepSeek-R1", 8, "0.14.0", 7.45),
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

    docs/memory-ledger.md lists those they do not, among them R1 in 0.20.
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
        ("mistralai/Mixtral-8x7B-v0.1", 2, 1.21),
        ("Qwen/Qwen3-30B-A3B", 1, 2.68),
        ("google/gemma-3-27b-it", 1, 3.94),
    ],
)
def test_peaks_by_architecture_in_0_19(name: str, tp: int, gib: float) -> None:
    """The table names architectures, not checkpoints or ranks: two are the fewest that hold Mixtral on 80 GB."""
    assert _peak(name, "0.19.0", tp) / GIB == pytest.approx(gib, rel=0.03)


def test_fused_experts_of_data_centre_blackwell_need_no_sorted_rows() -> None:
    """R1 on eight B200s: 4.38 GiB beside weights and cache in 0.18, 1.7 less than on H200s; the sampler decides."""
    engine = read_engine("vllm", "0.18.0").on("nvidia", "10.0")
    settings = EngineSettings(
        max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.9
    )
    memory = rank_memory(read_model("deepseek-ai/DeepSeek-R1"), Formats(), Parallelism(tp=8), settings, engine)
    assert memory.inside_bytes / GIB == pytest.approx(4.38, abs=0.2)


SORT_FREE = [
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", Parallelism(tp=4), 2.57),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8), 2.81),
    ("RedHatAI/Qwen3-235B-A22B-Instruct-2507-FP8-dynamic", Parallelism(tp=4, ep=4), 3.80),
]


@pytest.mark.parametrize(("name", "cut", "gib"), SORT_FREE, ids=[name.rpartition("/")[2] for name, _, _ in SORT_FREE])
def test_flashinfer_samples_without_sorting_where_0_11_0_finds_it(name: str, cut: Parallelism, gib: float) -> None:
    """The low envelopes of 0.11.0 on H200s: bf16 + fp32 logits, masked logits and probabilities are 3.5 copies."""
    engine = read_engine("vllm", "0.11.0")
    installed = replace(engine, sampler_copies=engine.sort_free_copies, sort_free_copies=0.0)
    settings = EngineSettings(
        max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.9
    )
    memory = rank_memory(read_model(name), Formats(), cut, settings, installed)
    assert memory.inside_bytes / GIB == pytest.approx(gib, abs=0.08)


def test_the_interval_holds_both_samplers_where_nothing_tells_which_ran() -> None:
    line = _line("meta-llama/Llama-3.1-8B-Instruct", "0.10.2")
    assert line.low <= _line("meta-llama/Llama-3.1-8B-Instruct", "0.10.2", sort_free=True).bytes < line.bytes


def test_a_sort_free_sampler_keeps_a_row_for_each_multiprocessor() -> None:
    """3.5 × 256 rows × 128,256 × 4 B + 132 rows of buffer + 1.5 × 2,048 tokens × 4,096 × 2 B."""
    peak = _peak("meta-llama/Llama-3.1-8B-Instruct", "0.19.0", rows=256, tokens=2048)
    assert peak == 3.5 * 256 * 128_256 * 4 + 132 * 128_256 * 4 + 1.5 * 2048 * 4096 * 2


@pytest.mark.parametrize(("version", "copies"), [("0.7.3", 4), ("0.8.5 V0", 4), ("0.9.2 V0", 3)])
def test_marlin_takes_a_second_buffer_for_its_input_until_0_9(version: str, copies: int) -> None:
    """A log of Qwen2.5-32B-AWQ on 32,768 tokens prints 8.02 GiB: 4 × hidden + 4 × intermediate elements a token."""
    peak = _peak("Qwen/Qwen2.5-32B-Instruct-AWQ", version, rows=256, tokens=32_768)
    assert peak == 32_768 * 2 * (4 * 5120 + copies * 27_648)


def test_cards_before_ampere_run_no_marlin() -> None:
    assert not read_engine("vllm", "0.7.3").on("nvidia", "7.5").marlin_copies_inputs
