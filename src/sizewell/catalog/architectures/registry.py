"""Every architecture name we understand and the module that builds it.

Modules are imported when first needed: reading one model does not load the others.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields


class Family(NamedTuple):
    """Where a family is built: `module:function` of the language model and, for wrappers, of the vision tower.

    `text` names the section that holds the language model when it is not the file itself.
    """

    language: str
    tower: str = ""
    text: str = ""


FAMILIES: dict[str, Family] = {
    "ApertusForCausalLM": Family("dense:apertus"),
    "CohereForCausalLM": Family("dense:cohere"),
    "DbrxForCausalLM": Family("mixture:dbrx"),
    "DeepseekV2ForCausalLM": Family("latent:deepseek"),
    "DeepseekV32ForCausalLM": Family("latent:deepseek_v32"),
    "DeepseekV3ForCausalLM": Family("latent:deepseek"),
    "Ernie4_5ForCausalLM": Family("dense:ernie"),
    "Ernie4_5_MoeForCausalLM": Family("mixture:ernie_moe"),
    "Exaone4ForCausalLM": Family("dense:exaone4"),
    "Gemma2ForCausalLM": Family("gemma:gemma2"),
    "Gemma3ForCausalLM": Family("gemma:gemma3"),
    "Gemma3ForConditionalGeneration": Family("gemma:gemma3", text="text_config"),
    "Glm4ForCausalLM": Family("dense:glm4"),
    "Glm4MoeForCausalLM": Family("mixture:glm4_moe"),
    "Glm4MoeLiteForCausalLM": Family("latent:deepseek"),
    "GlmForCausalLM": Family("dense:glm"),
    "GlmMoeDsaForCausalLM": Family("latent:glm_dsa"),
    "GptOssForCausalLM": Family("mixture:gpt_oss"),
    "GraniteForCausalLM": Family("dense:llama"),
    "GraniteMoeForCausalLM": Family("mixture:granite_moe"),
    "HunYuanMoEV1ForCausalLM": Family("mixture:hunyuan"),
    "InternLMForCausalLM": Family("dense:internlm"),
    "LlamaForCausalLM": Family("dense:llama"),
    "LongcatFlashForCausalLM": Family("latent:longcat"),
    "MiMoForCausalLM": Family("dense:mimo"),
    "MiniMaxM2ForCausalLM": Family("mixture:minimax_m2"),
    "MistralForCausalLM": Family("dense:mistral"),
    "MixtralForCausalLM": Family("mixture:mixtral"),
    "Olmo2ForCausalLM": Family("dense:olmo2"),
    "OlmoeForCausalLM": Family("mixture:olmoe"),
    "Phi3ForCausalLM": Family("dense:phi3"),
    "PhiMoEForCausalLM": Family("mixture:phimoe"),
    "Qwen2ForCausalLM": Family("dense:qwen2"),
    "Qwen2MoeForCausalLM": Family("mixture:qwen2_moe"),
    "Qwen3ForCausalLM": Family("dense:qwen3"),
    "Qwen3MoeForCausalLM": Family("mixture:qwen3_moe"),
    "SeedOssForCausalLM": Family("dense:seed_oss"),
    "SmolLM3ForCausalLM": Family("dense:smollm3"),
    "Starcoder2ForCausalLM": Family("dense:starcoder2"),
}


def language_builder(family: Family) -> Callable[[Fields], Outline]:
    """Return the function that builds the language model of a family."""
    builder: Callable[[Fields], Outline] = _load(family.language)
    return builder


def _load(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(f"sizewell.catalog.architectures.{module}"), function)
