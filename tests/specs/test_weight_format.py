"""Weight formats by name, against the sizes of published files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.models import read_model
from sizewell.specs.encoding import FP32
from sizewell.specs.errors import UnknownNameError
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import kept_format, parse_weight_format, stored_encoding, weight_formats


def file_bytes(model: ModelSpec, weight_format: str) -> float:
    return sum(
        stored_encoding(t, model, weight_format).bytes(t.rank_rows(1), t.rank_columns(1), t.matrices)
        for t in model.tensors()
    )


# Bytes of the files as their model pages list them; a GGUF header with its vocabulary takes about 8 MB.
PUBLISHED_GGUF = [
    ("meta-llama/Llama-3.1-8B-Instruct", "q8_0", 8_540_775_840),
    ("meta-llama/Llama-3.1-8B-Instruct", "q6_k", 6_596_011_424),
    ("meta-llama/Llama-3.1-8B-Instruct", "q5_k_m", 5_732_992_416),
    ("meta-llama/Llama-3.1-8B-Instruct", "q4_k_m", 4_920_739_232),
    ("meta-llama/Llama-3.1-8B-Instruct", "q4_k_s", 4_692_673_952),
    ("meta-llama/Llama-3.1-8B-Instruct", "q3_k_m", 4_018_922_912),
    ("meta-llama/Llama-3.1-8B-Instruct", "q2_k", 3_179_136_416),
    ("meta-llama/Llama-3.1-8B-Instruct", "iq4_xs", 4_447_667_616),
    ("openai/gpt-oss-20b", "mxfp4_moe", 12_101_070_000),
    ("openai/gpt-oss-120b", "mxfp4_moe", 63_372_240_000),
]


@pytest.mark.parametrize(("name", "mix", "published"), PUBLISHED_GGUF)
def test_gguf_mixes_come_out_as_published_files(name: str, mix: str, published: int) -> None:
    assert file_bytes(read_model(name), f"gguf-{mix}") == pytest.approx(published, rel=0.003)


@pytest.mark.parametrize(
    ("name", "engine", "asked", "kept"),
    [
        ("openai/gpt-oss-20b", "llama.cpp", "native", "gguf-mxfp4_moe"),
        ("openai/gpt-oss-20b", "vllm", "native", "native"),
        ("openai/gpt-oss-20b", "llama.cpp", "gguf-q8_0", "gguf-q8_0"),
        ("Qwen/Qwen3-30B-A3B", "llama.cpp", "mxfp4", "gguf-mxfp4_moe"),
        ("Qwen/Qwen3-30B-A3B", "llama.cpp", "native", "native"),
        ("Qwen/Qwen3-32B", "llama.cpp", "mxfp4", "mxfp4"),
    ],
)
def test_llama_cpp_reads_a_file_of_its_own_of_mixtures_in_mxfp4(name: str, engine: str, asked: str, kept: str) -> None:
    assert kept_format(read_model(name), engine, asked) == kept


def test_native_is_what_the_checkpoint_stores() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    by_name = {t.name: t for t in model.layers[-1].tensors}
    assert stored_encoding(by_name["mlp.experts.w13"], model, "native").name == "fp8-block128"
    assert stored_encoding(by_name["mlp.gate"], model, "native").name == "bf16"
    assert stored_encoding(model.embedding, model, "native").name == "bf16"


def test_a_sixteen_bit_checkpoint_in_sixteen_bits_is_two_bytes_a_parameter() -> None:
    model = read_model("Qwen/Qwen3-32B")
    assert file_bytes(model, "native") == file_bytes(model, "bf16") == 2 * model.text_parameters


@pytest.mark.parametrize("weight_format", weight_formats())
def test_every_offered_format_is_understood_and_keeps_norms_and_routers_wide(weight_format: str) -> None:
    assert parse_weight_format(weight_format) == weight_format
    model = read_model("Qwen/Qwen3-30B-A3B")
    for tensor in model.tensors():
        encoding = stored_encoding(tensor, model, weight_format)
        if tensor.role in ("norm", "router"):
            assert encoding.bits_per_weight >= 16
        else:
            assert 1 < encoding.bits_per_weight <= 32


def test_smaller_formats_take_fewer_bytes() -> None:
    model = read_model("meta-llama/Llama-3.3-70B-Instruct")
    order = ["bf16", "fp8", "awq-int4", "gptq-int4", "gguf-q3_k_m", "gguf-q2_k"]
    sizes = [file_bytes(model, name) for name in order]
    assert sizes == sorted(sizes, reverse=True)


def test_mlx_quantizes_the_embedding_too() -> None:
    model = read_model("Qwen/Qwen2.5-7B-Instruct")
    assert file_bytes(model, "mlx-4bit") * 8 / model.text_parameters == pytest.approx(4.5, abs=0.02)


def test_mxfp4_of_a_mixture_is_its_experts_alone() -> None:
    model = read_model("openai/gpt-oss-120b")
    assert file_bytes(model, "mxfp4") == file_bytes(model, "native")


def test_the_cache_format_does_not_follow_the_weights() -> None:
    assert read_model("Qwen/Qwen2.5-7B-Instruct-AWQ").kv_format == "auto"
    assert read_model("nvidia/Llama-3.1-8B-Instruct-FP8").kv_format == "fp8"


def test_float32_tensors_stay_float32() -> None:
    model = read_model("deepseek-ai/DeepSeek-V4-Flash")
    mixing = next(t for t in model.layers[0].tensors if t.name == "attn_hc.fn")
    assert stored_encoding(mixing, model, "fp8") is FP32


@pytest.mark.parametrize(("said", "meant"), [("AWQ", "awq-int4"), ("Q4_K_M", "gguf-q4_k_m"), ("auto", "native")])
def test_common_spellings(said: str, meant: str) -> None:
    assert parse_weight_format(said) == meant


@given(st.text(max_size=30))
def test_any_other_word_is_one_clear_error(word: str) -> None:
    try:
        parse_weight_format(word)
    except UnknownNameError as error:
        assert "\n" not in str(error)
