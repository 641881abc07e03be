"""Configurations that transformers 5 wrote again under its own names describe the models they were read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sizewell.catalog.architectures.assembly import build_model
from sizewell.catalog.config_fields import Fields, MissingFieldError
from sizewell.catalog.models import SHIPPED, list_models, read_model
from sizewell.specs.errors import BadInputError

RESAVED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "resaved_configurations.json").read_text()
)
FILES = {entry.id: entry.file for entry in list_models()}


@pytest.mark.parametrize("name", RESAVED)
def test_a_configuration_saved_again_is_the_same_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(RESAVED[name]))
    released, resaved = read_model(name), read_model(tmp_path)
    assert resaved.layers == released.layers
    assert resaved.rope_tables == released.rope_tables
    assert (resaved.parameters, resaved.active_parameters) == (released.parameters, released.active_parameters)
    assert (resaved.max_context_tokens, resaved.weight_format) == (released.max_context_tokens, released.weight_format)


def shipped(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((SHIPPED / FILES[name]).read_text())
    return values


DECIDING = [
    ("deepseek-ai/DeepSeek-R1", "first_k_dense_replace"), ("deepseek-ai/DeepSeek-R1", "n_shared_experts"),
    ("deepseek-ai/DeepSeek-R1", "q_lora_rank"), ("deepseek-ai/DeepSeek-R1", "n_routed_experts"),
    ("deepseek-ai/DeepSeek-R1", "moe_intermediate_size"), ("zai-org/GLM-4.5-Air", "moe_intermediate_size"),
    ("zai-org/GLM-4.5-Air", "intermediate_size"), ("baidu/ERNIE-4.5-21B-A3B-PT", "moe_num_shared_experts"),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "shared_expert_intermediate_size"),
    ("LiquidAI/LFM2-8B-A1B", "num_dense_layers"), ("ibm-granite/granite-4.0-h-small", "num_local_experts"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field"), DECIDING)
def test_a_field_that_decides_the_layers_is_never_guessed(name: str, field: str) -> None:
    values = shipped(name)
    del values[field]
    with pytest.raises(MissingFieldError, match=f"{field} is missing"):
        build_model(name, Fields(values, "config.json"))


@pytest.mark.parametrize("rank", [None, 0])
def test_a_stated_null_means_none(rank: int | None) -> None:
    values = shipped("deepseek-ai/DeepSeek-V2-Lite")
    values["q_lora_rank"] = rank
    assert build_model("v2", Fields(values, "config.json")).parameters == read_model("deepseek-v2-lite").parameters


def test_vectors_that_are_not_counted_are_named(tmp_path: Path) -> None:
    values = shipped("Qwen/Qwen3-32B") | {"mlp_bias": True, "per_layer_config": {"03": {"intermediate_size": 128}}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    said = " ".join(read_model(tmp_path).assumed)
    assert "mlp_bias is in the file and is not counted" in said
    assert "per_layer_config is in the file and is not counted" in said


def test_layers_that_differ_one_by_one_are_refused_where_their_fields_are_not_known() -> None:
    values = RESAVED["google/gemma-4-31B-it"]
    values["text_config"]["per_layer_config"]["05"]["intermediate_size"] = 64
    with pytest.raises(BadInputError, match="per_layer_config"):
        build_model("gemma", Fields(values, "config.json"))


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (
            {
                "architectures": ["BailingMoeV2ForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 20,
                "intermediate_size": 5120, "moe_intermediate_size": 512, "num_experts": 256, "num_experts_per_tok": 8,
                "num_shared_experts": 1, "first_k_dense_replace": 1, "num_attention_heads": 16,
                "num_key_value_heads": 4, "head_dim": 128, "use_qk_norm": True, "vocab_size": 157184,
            },
            (16.3, 1.4),
        ),
        (
            {
                "architectures": ["BailingMoeForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 28,
                "intermediate_size": 5632, "moe_intermediate_size": 1408, "num_experts": 64, "num_experts_per_tok": 6,
                "num_shared_experts": 2, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128,
                "vocab_size": 126464,
            },
            (16.8, 2.75),
        ),
    ],
)  # fmt: skip
def test_ling_has_its_published_totals(config: dict[str, Any], billions: tuple[float, float]) -> None:
    model = build_model("ling", Fields(config, "config.json"))
    assert model.parameters / 1e9 == pytest.approx(billions[0], abs=0.05)
    assert model.active_parameters / 1e9 == pytest.approx(billions[1], abs=0.06)
