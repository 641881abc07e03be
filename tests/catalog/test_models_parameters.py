"""Parameter counts of every shipped model equal what transformers builds on the meta device."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sizewell.catalog.architectures.assembly import build_model
from sizewell.catalog.config_fields import Fields
from sizewell.catalog.models import SHIPPED, list_models, read_model
from sizewell.specs.layers import MoeMlp
from sizewell.specs.model import ModelSpec

GOLDEN = Path(__file__).parents[1] / "golden" / "transformers_parameter_counts.csv"
ROWS = {row["model_id"]: row for row in csv.DictReader(GOLDEN.open())}
COUNTED = [name for name, row in ROWS.items() if row["status"] == "ok"]

DIFFERENT_ON_PURPOSE = {
    # transformers 5.23 allocates gate/up matrices for the 256 identity experts, which no checkpoint stores and no
    # step multiplies by: 28 layers of 256 experts of 4096 x 6144.
    "meituan-longcat/LongCat-Flash-Chat": -28 * 256 * 4096 * 6144,
    # transformers expects a nested text_config and fills in its own vocabulary of 128,815; the flat file says 128,896.
    "stepfun-ai/Step-3.7-Flash": 2 * (128_896 - 128_815) * 4096,
    "stepfun-ai/Step-3.7-Flash-FP8": 2 * (128_896 - 128_815) * 4096,
}


# Speech output (talker, code2wav) is a model of its own that LLM engines do not load.
WITHOUT_SPEECH = {"Qwen/Qwen3-Omni-30B-A3B-Instruct": 3_540_613_057}
# The flat file describes text alone; transformers fills in its default tower.
WITHOUT_TOWER = {"stepfun-ai/Step-3.7-Flash", "stepfun-ai/Step-3.7-Flash-FP8"}
INDEX = tomllib.loads((SHIPPED / "index.toml").read_text())


@pytest.mark.parametrize("name", COUNTED)
def test_text_and_vision_parameters_are_exact(name: str) -> None:
    model, row = read_model(name), ROWS[name]
    assert model.text_parameters == int(row["text"]) + DIFFERENT_ON_PURPOSE.get(name, 0)
    tower = 0 if name in WITHOUT_TOWER else int(row["vision"])
    assert model.vision_parameters == tower
    if name not in WITHOUT_TOWER:
        total = int(row["total"]) - WITHOUT_SPEECH.get(name, 0) + DIFFERENT_ON_PURPOSE.get(name, 0)
        assert model.parameters == total


@pytest.mark.parametrize("name", COUNTED)
def test_active_parameters_are_all_but_the_experts_not_chosen(name: str) -> None:
    model, row = read_model(name), ROWS[name]
    routed = sum(t.parameters for layer in model.layers for t in layer.tensors if t.role == "routed-experts")
    if name not in DIFFERENT_ON_PURPOSE:
        assert routed == int(row["routed_experts"])
    shapes = {layer.mlp for layer in model.layers if isinstance(layer.mlp, MoeMlp)}
    if not shapes:
        assert model.active_parameters == model.text_parameters
        return
    (shape,) = shapes
    idle = routed * (shape.experts - shape.top_k) // shape.experts
    assert model.active_parameters == model.text_parameters - idle


# Billions that the makers call active, rounded as they round them.
ACTIVE_BILLIONS = [
    ("deepseek-ai/DeepSeek-R1", 37.0, 1.0),
    ("moonshotai/Kimi-K2-Instruct", 32.0, 1.0),
    ("Qwen/Qwen3-235B-A22B", 22.0, 0.5),
    ("openai/gpt-oss-120b", 5.1, 0.65),
    ("zai-org/GLM-4.5", 32.0, 2.0),
    ("mistralai/Mixtral-8x7B-v0.1", 12.9, 0.1),
]


@pytest.mark.parametrize(("name", "billions", "rounding"), ACTIVE_BILLIONS)
def test_active_parameters_are_what_makers_say(name: str, billions: float, rounding: float) -> None:
    assert read_model(name).active_parameters / 1e9 == pytest.approx(billions, abs=rounding)


# What transformers cannot build without remote code: totals of the published checkpoints, or of the same text
# model in a file it can build (MiniMax-M3 in nvidia/MiniMax-M3-NVFP4, Kimi-VL's in Moonlight).
BY_PUBLISHED_TOTAL = {
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": 49_867_145_216,
    "internlm/internlm-20b": 20_088_714_240,
    "XiaomiMiMo/MiMo-7B-Base": 7_622_619_136,
    "MiniMaxAI/MiniMax-M3": 426_174_565_632,
    "moonshotai/Kimi-VL-A3B-Instruct": 15_960_108_544,
    # From here on the totals are recalled, not read from a page.
    "baichuan-inc/Baichuan2-7B-Chat": 7_505_973_248,
    "baichuan-inc/Baichuan2-13B-Chat": 13_896_668_160,
    "internlm/internlm2_5-7b-chat": 7_737_708_544,
    "internlm/internlm2_5-20b-chat": 19_861_149_696,
    "LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct": 2_405_327_360,
    "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct": 7_818_448_896,
    "LGAI-EXAONE/EXAONE-3.5-32B-Instruct": 32_003_200_000,
    "deepseek-ai/deepseek-moe-16b-chat": 16_375_728_128,
    "THUDM/chatglm3-6b": 6_243_584_000,
    "THUDM/glm-4-9b-chat": 9_399_951_360,
}


@pytest.mark.parametrize(("name", "total"), BY_PUBLISHED_TOTAL.items())
def test_models_transformers_does_not_know_match_published_totals(name: str, total: int) -> None:
    assert read_model(name).text_parameters == total


UNSHIPPED = json.loads((GOLDEN.parent / "unshipped_architectures.json").read_text())


@pytest.mark.parametrize("row", UNSHIPPED, ids=lambda row: row["config"]["architectures"][0])
def test_architectures_without_a_shipped_model_are_exact(row: dict[str, Any]) -> None:
    assert build_model("small", Fields(row["config"], "small.json")).parameters == row["parameters"]


def test_a_model_that_speaks_is_counted_as_it_is_served() -> None:
    """Qwen2.5-Omni's file wraps the thinker that engines load beside the parts that speak, which they do not."""
    thinker = next(row["config"] for row in UNSHIPPED if "OmniThinker" in row["config"]["architectures"][0])
    alone = build_model("thinker", Fields(thinker, "thinker.json"))
    for name in ("Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"):
        whole = {"architectures": [name], "thinker_config": thinker, "talker_config": {"hidden_size": 896}}
        served = build_model("whole", Fields(whole, "whole.json"))
        assert (served.parameters, served.layers, served.assumed) == (alone.parameters, alone.layers, ())


def test_internlm2_is_its_published_checkpoint() -> None:
    config = {
        "architectures": ["InternLM2ForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 92544, "bias": False,
    }  # fmt: skip
    assert build_model("internlm2-7b", Fields(config, "config.json")).parameters == 7_737_708_544


def test_kimi_vl_with_its_tower_is_the_published_checkpoint() -> None:
    model, moonlight = (
        read_model("moonshotai/Kimi-VL-A3B-Instruct"),
        read_model("moonshotai/Moonlight-16B-A3B-Instruct"),
    )
    # What Moonlight, its text model, stores beside parameters.
    beside = INDEX["moonshotai/Moonlight-16B-A3B-Instruct"]["published_parameters"] - moonlight.parameters
    assert model.parameters + beside == 16_407_657_776


def correction_biases(model: ModelSpec) -> int:
    """One value per expert and routing layer, which checkpoints store and transformers keeps as a buffer."""
    return sum(la.mlp.experts for la in (*model.layers, *model.mtp_layers) if isinstance(la.mlp, MoeMlp))


def block_scales(model: ModelSpec) -> int:
    tensors = [t for la in (*model.layers, *model.mtp_layers) for t in la.tensors if t.stored and t.columns]
    return sum(
        t.matrices * t.stored.blocks(part.elements, t.columns.elements)
        for t in tensors
        for part in t.rows
        if t.stored and t.columns
    )


def test_r1_with_prediction_layer_copies_and_scales_is_the_published_checkpoint() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    copies = 2 * model.vocabulary * model.hidden
    whole = model.parameters + model.mtp_parameters + copies + correction_biases(model) + block_scales(model)
    assert whole == INDEX["deepseek-ai/DeepSeek-R1"]["published_parameters"] == 684_531_386_000


@pytest.mark.parametrize(
    ("name", "copies"), [("zai-org/GLM-4.5", 2), ("zai-org/GLM-4.5-Air", 2), ("zai-org/GLM-4.6", 0)]
)
def test_prediction_layers_of_glm_are_the_published_rest(name: str, copies: int) -> None:
    model = read_model(name)
    stored = model.parameters + model.mtp_parameters + copies * model.vocabulary * model.hidden
    assert stored + correction_biases(model) == INDEX[name]["published_parameters"]


def test_mimo_with_its_prediction_layer_is_the_published_checkpoint() -> None:
    model = read_model("XiaomiMiMo/MiMo-7B-Base")
    assert model.parameters + model.mtp_parameters == 7_833_409_536


def test_every_shipped_model_has_a_golden_row() -> None:
    assert {entry.id for entry in list_models()} == set(ROWS)
