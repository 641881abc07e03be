"""Stored formats: methods, ignore lists and what they never touch."""

from __future__ import annotations

from typing import Any

import pytest

from sizewell.catalog.architectures.assembly import build_model
from sizewell.catalog.config_fields import Fields
from sizewell.catalog.models import list_models, read_model
from sizewell.catalog.module_names import Patterns, modules_of
from sizewell.specs.errors import BadInputError
from sizewell.specs.model import ModelSpec

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 12,
    "num_attention_heads": 4, "vocab_size": 1000,
}  # fmt: skip


def built(quantization: dict[str, Any]) -> ModelSpec:
    return build_model("m", Fields({**LLAMA, "quantization_config": quantization}, "m.json"))


def formats(model: ModelSpec, index: int = 0) -> dict[str, str]:
    layer = model.layers[index]
    return {t.name: t.stored.name if t.stored else "16" for t in layer.tensors if t.is_matrix}


METHODS = [
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block128"),
    ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8-tensor"),
    ({"quant_method": "fbgemm_fp8"}, "fp8-channel"),
    ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4-g128-zp"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True}, "int4-g32"),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True}, "int8-g0"),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
    ({"quant_algo": "FP8"}, "fp8-tensor"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb-nf4"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8-channel"),
    ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-nf4"),
    ({"load_in_8bit": True}, "int8-channel"),
    ({"bits": 4, "group_size": 64}, "mlx-4bit-g64"),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8-tensor"),
]


@pytest.mark.parametrize(("settings", "name"), METHODS)
def test_each_method_stores_all_four_matrices_alike(settings: dict[str, Any], name: str) -> None:
    model = built(settings)
    assert set(formats(model).values()) == {name}
    assert model.weight_format == name
    assert len(model.layer_counts) == 1


@pytest.mark.parametrize("method", ["awq", "gptq"])
@pytest.mark.parametrize("group", [0, -2, -128, 0.5, "128", None, 10**30])
def test_a_group_that_cannot_be_is_refused(method: str, group: object) -> None:
    with pytest.raises(BadInputError, match="group_size"):
        built({"quant_method": method, "bits": 4, "group_size": group})


def test_a_scheme_without_a_group_scales_whole_rows() -> None:
    assert built(scheme(num_bits=4, group_size=None)).weight_format == "int4-g0"
    with pytest.raises(BadInputError, match="group_size is 0, expected -1"):
        built(scheme(num_bits=4, group_size=0))


def scheme(**weights: Any) -> dict[str, Any]:
    inputs = {"num_bits": weights["num_bits"]} if weights.pop("inputs", False) else None
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


SCHEMES = [
    (scheme(num_bits=8, type="float", strategy="channel", inputs=True), "fp8-channel"),
    (scheme(num_bits=8, type="float", strategy="tensor", inputs=True), "fp8-tensor"),
    (scheme(num_bits=8, type="float", strategy="block", block_structure=[128, 128]), "fp8-block128"),
    (scheme(num_bits=8, type="int", strategy="channel", inputs=True), "int8-channel"),
    (scheme(num_bits=8, type="int", strategy="group", group_size=128), "int8-g128"),
    (scheme(num_bits=4, type="int", strategy="group", group_size=128, symmetric=True), "int4-g128"),
    (scheme(num_bits=4, type="int", strategy="group", group_size=32, symmetric=False), "int4-g32-zp"),
    (scheme(num_bits=4, type="float", group_size=16), "nvfp4"),
    (scheme(num_bits=4, type="float", group_size=32), "mxfp4"),
]


@pytest.mark.parametrize(("settings", "name"), SCHEMES)
def test_schemes_of_compressed_tensors(settings: dict[str, Any], name: str) -> None:
    assert set(formats(built(settings)).values()) == {name}


@pytest.mark.parametrize(
    "settings",
    [{"quant_method": "alchemy"}, {"quant_method": "awq", "bits": 7, "group_size": 64},
     {"quant_algo": "FP3"}, {"quant_method": "fp8", "weight_block_size": [0, 1]}, scheme(num_bits=3, type="float")],
)  # fmt: skip
def test_an_unknown_method_or_width_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="expected"):
        built(settings)


@pytest.mark.parametrize(
    ("ignored", "matrix"),
    [("model.layers.3.mlp.down_proj", "mlp.down_proj"), ("model.layers.3.self_attn.k_proj", "self_attn.qkv_proj"),
     ("model.layers.3.mlp*", "mlp.gate_up_proj"), ("re:.*layers\\.3\\.self_attn.*", "self_attn.o_proj"),
     ("*.layers.3.mlp.up_proj", "mlp.gate_up_proj"), ("language_model.model.layers.3.*", "self_attn.o_proj")],
)  # fmt: skip
def test_an_ignored_module_stays_wide_in_its_layer_alone(ignored: str, matrix: str) -> None:
    model = built({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [ignored]})
    assert formats(model, 3)[matrix] == "16"
    assert set(formats(model, 2).values()) == {"nvfp4"}
    assert set(formats(model, 11).values()) == {"nvfp4"}
    assert list(model.layer_counts.values()) == [11, 1]


def test_a_short_name_is_a_component_and_not_a_part_of_a_word() -> None:
    patterns = Patterns(["gate"], "f")
    assert patterns.match("layers.0.mlp.gate")
    assert not patterns.match("layers.0.mlp.gate_proj")


def test_a_prefix_of_a_number_covers_what_the_writer_meant() -> None:
    patterns = Patterns(["model.layers.1*"], "f")
    assert [i for i in range(30) if patterns.match(f"layers.{i}.mlp.gate")] == [1, *range(10, 20)]
    assert patterns.signature(12) == patterns.signature(13) != patterns.signature(2)


def test_fused_matrices_stand_for_their_parts() -> None:
    assert "self_attn.k_proj" in modules_of("self_attn.qkv_proj")
    assert "block_sparse_moe.experts.0.w1" in modules_of("mlp.experts.w13")
    assert "mixer.in_proj" in modules_of("mamba.in_proj")


def shares(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for layer in read_model(name).layer_counts:
        for tensor in layer.tensors:
            if tensor.is_matrix:
                found.setdefault(tensor.role, set()).add(tensor.stored.name if tensor.stored else "16")
    return found


RELEASED = [
    ("deepseek-ai/DeepSeek-R1", "attention", {"fp8-block128"}),
    ("deepseek-ai/DeepSeek-R1", "router", {"16"}),
    ("deepseek-ai/DeepSeek-V3.2", "indexer", {"fp8-block128", "16"}),
    ("nvidia/DeepSeek-R1-FP4", "attention", {"16"}),
    ("nvidia/DeepSeek-V3.1-NVFP4", "attention", {"16", "nvfp4"}),
    ("nvidia/GLM-5.2-NVFP4", "shared-experts", {"16"}),
    ("nvidia/MiniMax-M3-NVFP4", "routed-experts", {"nvfp4"}),
    ("nvidia/MiniMax-M3-NVFP4", "attention", {"mxfp8"}),
    ("nvidia/DeepSeek-V4-Flash-NVFP4", "routed-experts", {"nvfp4"}),
    ("nvidia/DeepSeek-V4-Flash-NVFP4", "shared-experts", {"fp8-block128"}),
    ("deepseek-ai/DeepSeek-V4-Flash", "routed-experts", {"mxfp4"}),
    ("openai/gpt-oss-120b", "routed-experts", {"mxfp4"}),
    ("openai/gpt-oss-120b", "attention", {"16"}),
    ("moonshotai/Kimi-K2.5", "shared-experts", {"16"}),
    ("moonshotai/Kimi-K2.5", "routed-experts", {"int4-g32"}),
    ("nvidia/Qwen3.6-27B-NVFP4", "mlp", {"nvfp4"}),
    ("nvidia/Qwen3.6-27B-NVFP4", "attention", {"fp8-tensor"}),
    ("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", "mlp", {"16", "fp8-channel"}),
    ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", "attention", {"16"}),
    ("TheBloke/Mixtral-8x7B-Instruct-v0.1-AWQ", "router", {"16"}),
]


@pytest.mark.parametrize(("name", "role", "stored"), RELEASED)
def test_released_checkpoints_store_each_role_as_their_lists_say(name: str, role: str, stored: set[str]) -> None:
    assert shares(name)[role] == stored


def test_embeddings_norms_routers_and_towers_are_never_quantized_by_default() -> None:
    for entry in list_models():
        model = read_model(entry.id)
        assert model.embedding.stored is None
        assert all(t.stored is None for t in model.vision)
        for layer in model.layer_counts:
            assert all(t.stored is None for t in layer.tensors if t.role == "norm")
            assert all(t.stored is None or t.stored.name == "fp32" for t in layer.tensors if t.role == "router")


def test_quantization_never_changes_what_a_model_is() -> None:
    plain, small = read_model("Qwen/Qwen3-235B-A22B"), read_model("nvidia/Qwen3-235B-A22B-NVFP4")
    assert plain.text_parameters == small.text_parameters
    assert plain.active_parameters == small.active_parameters
