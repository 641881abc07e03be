"""Checkpoints known by their names alone: re-uploads and quantized copies of shipped models, and nothing else."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.derived import TUNINGS, _spelled, derivation, stored_as, suffix_of
from sizewell.catalog.models import list_models, read_model
from sizewell.costs.weights import rank_weight_bytes
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import UnknownNameError, UnreachableError
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import parse_weight_format

FILES = {entry.id: entry.file for entry in list_models()}
PLAIN = sorted(name for name in FILES if suffix_of("", name.lower().removesuffix("-bf16")) is None)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No own catalogue, no cache, no network, whatever the machine has."""
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


W8A8 = "Meta-Llama-3.1-70B-Instruct-quantized.w8a8"

COPIES = [
    ("neuralmagic/Llama-3.3-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.3-70B-Instruct", "fp8-channel"),
    ("nvidia/Llama-3.3-70B-Instruct-FP8", "meta-llama/Llama-3.3-70B-Instruct", "fp8-tensor"),
    ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "meta-llama/Meta-Llama-3.1-8B-Instruct", "int4-g128"),
    ("unsloth/Qwen3-32B-bnb-4bit", "Qwen/Qwen3-32B", "bnb-nf4-double"),
    ("TheBloke/Llama-2-13B-chat-AWQ", "meta-llama/Llama-2-13b-chat-hf", "int4-g128-zp"),
    ("TheBloke/CodeLlama-34B-Instruct-GPTQ", "codellama/CodeLlama-34b-Instruct-hf", "int4-g128"),
    ("cognitivecomputations/DeepSeek-R1-AWQ", "deepseek-ai/DeepSeek-R1", "int4-g128-zp"),
    ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-72B-Instruct", "int8-g128"),
    ("casperhansen/llama-3.3-70b-instruct-awq", "meta-llama/Llama-3.3-70B-Instruct", "int4-g128-zp"),
    ("mlx-community/Meta-Llama-3.1-8B-Instruct-4bit", "meta-llama/Meta-Llama-3.1-8B-Instruct", "mlx-4bit"),
    ("lmstudio-community/Qwen3-32B-GGUF", "Qwen/Qwen3-32B", "gguf-q4_k_m"),
    ("bartowski/Qwen_Qwen3-32B-GGUF", "Qwen/Qwen3-32B", "gguf-q4_k_m"),
    ("someone/Qwen3-32B-Q8_0-GGUF", "Qwen/Qwen3-32B", "gguf-q8_0"),
    ("nvidia/GLM-4.7-NVFP4", "zai-org/GLM-4.7", "nvfp4"),
    ("Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", "Qwen/Qwen2.5-Coder-7B-Instruct", "int4-g128-zp"),
    ("Qwen3-32B-W8A8", "Qwen/Qwen3-32B", "int8-channel"),
    ("unsloth/gpt-oss-20b-BF16", "openai/gpt-oss-20b", "bf16"),
    ("unsloth/gpt-oss-20b", "openai/gpt-oss-20b", "mxfp4"),
    ("unsloth/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct", "bf16"),
    ("meta-llama/Llama-3.1-405B-Instruct-FP8", "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", "fp8-channel"),
    ("meta-llama/Llama-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct", "bf16"),
]


@pytest.mark.parametrize(("name", "base", "weights"), COPIES)
def test_a_plain_copy_has_its_base_and_its_format(name: str, base: str, weights: str) -> None:
    copy, original = read_model(name), read_model(base)
    assert copy.name == name
    assert copy.parameters == original.parameters
    assert copy.weight_format == weights
    assert parse_weight_format(copy.weight_format)
    (said,) = copy.assumed
    assert f"from the name {name}; config of {base}" in said


# Released files that keep more in 16 bits than their names say: NVFP4 recipes differ from model to model,
# NVIDIA's first FP4 of R1 all of its attention, Meta leaves attention and Llama 4 the shared experts, and Qwen pads one
# matrix; one name does not say the size.
KEPT_MORE = (
    "nvfp4", "DeepSeek-R1-FP4", "mixtral-instruct-awq", "meta-llama/", "Llama-4-Scout", "Qwen2.5-72B-Instruct-AWQ",
)  # fmt: skip
QUANTIZED = sorted(
    name
    for name in FILES
    if suffix_of("", name.lower()) and not any(word.lower() in name.lower() for word in (*KEPT_MORE, "-bf16"))
)


def test_four_bit_latent_attention_is_what_its_released_checkpoint_holds() -> None:
    """NVIDIA's V3.1 in NVFP4 narrows one of the matrices of attention, the one behind it."""
    released, named = read_model("nvidia/DeepSeek-V3.1-NVFP4"), read_model("deepseek-ai/DeepSeek-V3.1")
    cut = Parallelism(tp=4)
    assert rank_weight_bytes(named, "nvfp4", cut) == rank_weight_bytes(released, "native", cut)


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_shipped_quantized_checkpoint_would_have_been_told_by_its_name(name: str) -> None:
    others = {other: file for other, file in FILES.items() if file != FILES[name]}
    found = derivation(name, others)
    assert found is not None
    plain = read_model(found.base, assume=("quantization_config=null",))
    assert layer_bytes(stored_as(plain, found)) == pytest.approx(layer_bytes(read_model(name)), rel=2e-3)


def layer_bytes(model: ModelSpec) -> float:
    return sum(
        tensor.matrices * (tensor.stored or model.dtype).bytes(part.elements, tensor.columns.elements)
        for layer in model.layers
        for tensor in layer.tensors
        for part in tensor.rows
        if tensor.columns
    )


def stored_names(name: str) -> list[str | None]:
    return [t.stored.name if t.stored else None for layer in read_model(name).layers for t in layer.tensors]


@pytest.mark.parametrize(
    ("derived", "real"),
    [
        ("someone/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ"),
        ("neuralmagic/Llama-3.3-70B-Instruct-FP8-dynamic", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"),
        (f"me/{W8A8}", f"RedHatAI/{W8A8}"),
        ("someone/Mixtral-8x7B-Instruct-v0.1-AWQ", "TheBloke/Mixtral-8x7B-Instruct-v0.1-AWQ"),
    ],
)  # fmt: skip
def test_what_a_name_says_is_what_the_shipped_checkpoint_holds(derived: str, real: str) -> None:
    assert stored_names(derived) == stored_names(real)


@pytest.mark.parametrize(
    "name",
    [
        "someone/Qwen3-33B-AWQ",  # no such size
        "someone/Dolphin-3-Llama-3.1-8B-AWQ",  # another model's name in front
        "someone/R1-AWQ",  # a short name of ours is not a checkpoint's name
        "RedHatAI/DeepSeek-V4-Flash-NVFP4-FP8",  # two formats
        "Qwen3-32B-Instruct-2507-FP8",
    ],
)
def test_what_is_not_plain_is_not_guessed(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model"):
        read_model(name)


def test_a_name_without_a_known_ending_stays_out_of_reach() -> None:
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE"):
        read_model("someone/Qwen3-32B-abliterated")


def test_two_models_of_one_name_are_not_chosen_between() -> None:
    files = {"a/Thing-7B": "a.json", "b/thing-7b": "b.json"}
    assert derivation("x/Thing-7B-AWQ", files) is None
    assert derivation("x/Thing-7B", files) is None
    assert derivation("x/Thing-7B-AWQ", dict.fromkeys(files, "a.json")) is not None


def test_tuned_variants_of_different_configurations_are_not_chosen_between() -> None:
    files = {"a/Thing-7B-Instruct": "a.json", "a/Thing-7B-Chat": "b.json"}
    assert derivation("x/Thing-7B", files) is None


def test_a_configuration_at_hand_wins_over_the_name(tmp_path: Path) -> None:
    small = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 1000, "max_position_embeddings": 512,
    }  # fmt: skip
    folder = tmp_path / "cache" / "models--someone--Qwen3-32B-AWQ" / "snapshots" / "one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(small))
    model = read_model("someone/Qwen3-32B-AWQ")
    assert (model.hidden, model.assumed) == (64, ())


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "-._", min_size=1, max_size=40),
    st.sampled_from(["", "-AWQ", "-FP8", "-GGUF"]),
)
def test_an_invented_name_matches_nothing(stem: str, ending: str) -> None:
    found = derivation(f"someone/{stem}{ending}", FILES)
    known = {form for name in FILES for form in _spelled(name.lower().rpartition("/")[2])}
    if found is not None:
        assert any(known_name.startswith(stem.lower().split("-")[0]) for known_name in known)


@given(
    st.sampled_from(PLAIN),
    st.text(alphabet="abcxyz0123456789", min_size=1, max_size=6),
    st.sampled_from(["-AWQ", "-NVFP4", "-GPTQ-Int4"]),
)
def test_a_word_put_in_front_or_behind_is_another_model(name: str, word: str, ending: str) -> None:
    bare = name.rpartition("/")[2]
    shipped = {form for known in FILES for form in _spelled(known.lower().rpartition("/")[2])}
    for other in (f"{word}{bare}", f"{bare}{word}"):
        if other.lower() not in shipped:
            assert derivation(f"someone/{other}{ending}", FILES) is None


@given(st.sampled_from(PLAIN), st.sampled_from(["-AWQ", "-NVFP4", "-fp8-dynamic", "-Q6_K-GGUF"]))
def test_every_shipped_model_is_its_own_copy(name: str, ending: str) -> None:
    found = derivation(f"someone/{name.rpartition('/')[2]}{ending}", FILES)
    assert found is not None
    assert FILES[found.base] == FILES[name]


def test_tunings_are_endings_after_a_dash() -> None:
    assert all(tuning == "" or tuning.startswith("-") for tuning in TUNINGS)
