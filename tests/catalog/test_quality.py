"""Published recovery: the nearest scope answers, training and perplexity are kept apart, nothing is invented."""

from __future__ import annotations

import pytest

from sizewell.catalog.quality import read_quality
from sizewell.specs.quality import QualityResult, QualityTable, published_format, same_model, size_of


def test_the_model_itself_answers_first() -> None:
    recovery = read_quality().recovery("fp8", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")
    assert recovery is not None
    assert (recovery.fraction, recovery.scope, recovery.results) == (0.9953, "model", 1)
    assert "cortecs" in recovery.sources[0]


def test_then_the_family_at_its_size_then_the_size_then_the_format() -> None:
    table = read_quality()
    found = [
        table.recovery("awq-int4", "meta-llama/Llama-3.3-70B-Instruct"),
        table.recovery("nvfp4", "google/gemma-3-12b-it"),
        table.recovery("fp8", "Qwen/Qwen3-235B-A22B"),
    ]
    assert [recovery.scope for recovery in found if recovery] == ["family", "size", "format"]
    assert found[2] is not None
    assert (found[2].results, found[2].low, found[2].high) == (13, 0.9741, 1.0061)


def test_a_small_model_loses_more_in_nvfp4_than_a_large_one() -> None:
    table = read_quality()
    small, large = table.recovery("nvfp4", "Qwen/Qwen3-8B"), table.recovery("nvfp4", "nvidia/DeepSeek-R1-FP4")
    assert small is not None and large is not None
    assert (small.scope, large.scope) == ("model", "model")
    assert small.fraction < 0.98 < large.fraction


def test_a_size_helps_where_the_name_has_none() -> None:
    table = read_quality()
    for parameters in (None, 671e9):
        recovery = table.recovery("nvfp4", "nvidia/DeepSeek-V3.1-NVFP4", parameters)
        assert recovery is not None
        assert (recovery.scope, recovery.models) == ("family", ("DeepSeek-R1",))


@pytest.mark.parametrize("weight_format", ["bnb-nf4", "gguf-iq2_xs", "unheard-of"])
def test_nothing_published_is_none_with_a_reason(weight_format: str) -> None:
    table = read_quality()
    assert table.recovery(weight_format, "Qwen3-8B") is None
    assert f"no published accuracy of {weight_format}" in table.why_none(weight_format)


def test_the_checkpoint_as_published_keeps_everything_by_definition() -> None:
    recovery = read_quality().recovery("native", "deepseek-ai/DeepSeek-R1")
    assert recovery is not None
    assert (recovery.fraction, recovery.scope, recovery.results) == (1.0, "reference", 0)


def test_perplexity_speaks_only_where_no_accuracy_does() -> None:
    table = read_quality()
    six, four = table.recovery("gguf-q6_k", "Qwen3-8B"), table.recovery("gguf-q4_k_m", "Llama-3-8B")
    assert six is not None and four is not None
    assert (six.measure, four.measure) == ("perplexity", "accuracy")


def test_scores_after_training_and_means_over_models_are_kept_apart() -> None:
    def row(fraction: float, *, several: bool = False, trained: bool = False) -> QualityResult:
        return QualityResult(
            model="Qwen3-8B", benchmark="b", tasks="knowledge", scheme="s", recovery_fraction=fraction, source="s",
            date="2026-01", several_models=several, trained=trained,
        )  # fmt: skip

    table = QualityTable(results={"fp8": (row(0.9), row(0.5, several=True), row(1.0, trained=True))}, notes={})
    own, other = table.recovery("fp8", "Qwen3-8B"), table.recovery("fp8", "Llama-3.1-70B")
    assert own is not None and other is not None
    assert own.fraction == 0.9
    assert (other.low, other.high, other.scope) == (0.5, 0.9, "format")


@pytest.mark.parametrize(
    ("weight_format", "published"),
    [
        ("fp8-block128", "fp8"),
        ("awq-int4", "int4-w4a16"),
        ("gptq-int4", "int4-w4a16"),
        ("int4-g32", "int4-w4a16"),
        ("gptq-int8", "int8-w8a16"),
        ("int8", "int8-w8a8"),
        ("w8a8-int8", "int8-w8a8"),
        ("bnb-nf4-double", "bnb-nf4"),
        ("gguf-q4_k", "gguf-q4_k_m"),
        ("gguf-q6_k", "gguf-q6_k"),
        ("nvfp4", "nvfp4"),
    ],
)
def test_formats_that_share_their_results(weight_format: str, published: str) -> None:
    assert published_format(weight_format) == published


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen3-235B-A22B", 235),
        ("Mixtral-8x7B-v0.1", 56),
        ("Qwen2.5-0.5B", 0.5),
        ("DeepSeek-R1", None),
        ("phi-4", None),
    ],
)
def test_sizes_names_state(name: str, size: float | None) -> None:
    assert size_of(name) == size


def test_all_checkpoints_of_a_model_are_one() -> None:
    names = [
        "meta-llama/Meta-Llama-3.1-70B-Instruct",
        "RedHatAI/Meta-Llama-3.1-70B-Instruct-quantized.w8a8",
        "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
        "nvidia/Llama-3.1-70B-Instruct-FP8",
    ]
    assert {same_model(name) for name in names} == {"llama-3.1-70b-instruct"}
