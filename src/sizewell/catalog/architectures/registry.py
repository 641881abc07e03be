"""Every architecture name we understand and the module that builds it.

Modules are imported when first needed: reading one model does not load the others.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from sizewell.catalog.architectures.outline import Outline
from sizewell.catalog.config_fields import Fields
from sizewell.specs.tensor import Tensor


class Family(NamedTuple):
    """Where a family is built: `module:function` of the language model and, for wrappers, of the encoders.

    A tower without a module is a function in `towers`.

    `text` names the section that holds the language model when it is not the file itself.
    """

    language: str
    tower: str = ""
    text: str = ""


FAMILIES: dict[str, Family] = {
    "AfmoeForCausalLM": Family("shared_mixture:afmoe"),
    "ApertusForCausalLM": Family("dense:apertus"),
    "AquilaForCausalLM": Family("dense:llama"),
    "ArceeForCausalLM": Family("dense:arcee"),
    "ArcticForCausalLM": Family("residual_mixture:arctic"),
    "AyaVisionForConditionalGeneration": Family(
        "wrapped:aya_vision", tower="siglip_towers:aya_vision", text="text_config"
    ),
    "BaichuanForCausalLM": Family("dense:llama"),
    "BaiChuanForCausalLM": Family("dense:llama"),
    "BailingMoeForCausalLM": Family("shared_mixture:bailing"),
    "BailingMoeV2ForCausalLM": Family("shared_mixture:bailing"),
    "BambaForCausalLM": Family("state_space:bamba"),
    "BloomForCausalLM": Family("early:bloom"),
    "ChatGLMForConditionalGeneration": Family("early:chat_glm"),
    "ChatGLMModel": Family("early:chat_glm"),
    "Cohere2ForCausalLM": Family("dense:cohere2"),
    "Cohere2VisionForConditionalGeneration": Family(
        "wrapped:aya_vision", tower="siglip_towers:cohere2_vision", text="text_config"
    ),
    "CohereForCausalLM": Family("dense:cohere"),
    "CwmForCausalLM": Family("dense:cwm"),
    "DbrxForCausalLM": Family("mixture:dbrx"),
    "DeciLMForCausalLM": Family("deci:deci"),
    "DeepseekForCausalLM": Family("shared_mixture:glm4_moe"),
    "DeepseekV2ForCausalLM": Family("latent:deepseek"),
    "DeepseekV32ForCausalLM": Family("latent:deepseek_v32"),
    "DeepseekV3ForCausalLM": Family("latent:deepseek"),
    "DeepseekV4ForCausalLM": Family("compressed:deepseek_v4"),
    "Dots1ForCausalLM": Family("shared_mixture:dots1"),
    "Ernie4_5_MoeForCausalLM": Family("mixture:ernie_moe"),
    "Ernie4_5ForCausalLM": Family("dense:ernie"),
    "Exaone4ForCausalLM": Family("dense:exaone4"),
    "ExaoneForCausalLM": Family("early:exaone"),
    "ExaoneMoeForCausalLM": Family("shared_mixture:exaone_moe"),
    "ExaoneMoEForCausalLM": Family("shared_mixture:exaone_moe"),
    "FalconForCausalLM": Family("classic:falcon"),
    "FalconH1ForCausalLM": Family("state_space:falcon_h1"),
    "FalconMambaForCausalLM": Family("state_space:falcon_mamba"),
    "FlexOlmoForCausalLM": Family("mixture:olmoe"),
    "Gemma2ForCausalLM": Family("gemma:gemma2"),
    "Gemma3ForCausalLM": Family("gemma:gemma3"),
    "Gemma3ForConditionalGeneration": Family("gemma:gemma3", tower="siglip", text="text_config"),
    "Gemma3nForCausalLM": Family("per_layer:gemma3n"),
    "Gemma3nForConditionalGeneration": Family("per_layer:gemma3n", tower="audio_towers:gemma3n", text="text_config"),
    "Gemma4ForCausalLM": Family("gemma4:gemma4"),
    "Gemma4ForConditionalGeneration": Family("gemma4:gemma4", tower="audio_towers:gemma4", text="text_config"),
    "GemmaForCausalLM": Family("early:gemma"),
    "Glm4ForCausalLM": Family("dense:glm4"),
    "Glm4MoeForCausalLM": Family("shared_mixture:glm4_moe"),
    "Glm4MoeLiteForCausalLM": Family("latent:deepseek"),
    "Glm46VForConditionalGeneration": Family("dense:glm4v", tower="patch_towers:glm_vision", text="text_config"),
    "Glm4vForConditionalGeneration": Family("dense:glm4v", tower="patch_towers:glm_vision", text="text_config"),
    "Glm4vMoeForConditionalGeneration": Family(
        "shared_mixture:glm4_moe", tower="patch_towers:glm_vision", text="text_config"
    ),
    "GlmForCausalLM": Family("dense:glm"),
    "GlmMoeDsaForCausalLM": Family("latent:glm_dsa"),
    "GPT2LMHeadModel": Family("early:gpt2"),
    "GPTBigCodeForCausalLM": Family("early:gpt_bigcode"),
    "GPTJForCausalLM": Family("early:gpt_j"),
    "GPTNeoXForCausalLM": Family("classic:gpt_neox"),
    "GptOssForCausalLM": Family("mixture:gpt_oss"),
    "GraniteForCausalLM": Family("dense:llama"),
    "GraniteMoeForCausalLM": Family("mixture:granite_moe"),
    "GraniteMoeHybridForCausalLM": Family("state_space:granite_hybrid"),
    "GraniteMoeSharedForCausalLM": Family("mixture:granite_moe"),
    "Grok1ForCausalLM": Family("residual_mixture:grok"),
    "Grok1ModelForCausalLM": Family("residual_mixture:grok"),
    "GrokForCausalLM": Family("residual_mixture:grok"),
    "HeliumForCausalLM": Family("dense:llama"),
    "HunYuanDenseV1ForCausalLM": Family("dense:hunyuan_dense"),
    "HunYuanMoEV1ForCausalLM": Family("mixture:hunyuan"),
    "HunYuanVLForConditionalGeneration": Family(
        "dense:hunyuan_vl", tower="patch_towers:hunyuan_vision", text="text_config"
    ),
    "Idefics3ForConditionalGeneration": Family("wrapped:llava", tower="siglip_towers:idefics3", text="text_config"),
    "InternLM2ForCausalLM": Family("dense:internlm"),
    "InternLM3ForCausalLM": Family("dense:internlm3"),
    "InternLMForCausalLM": Family("dense:internlm"),
    "InternVLChatModel": Family("wrapped:any_language", tower="patch_towers:intern_vit", text="llm_config"),
    "InternVLForConditionalGeneration": Family(
        "wrapped:any_language", tower="patch_towers:intern_vit", text="text_config"
    ),
    "JambaForCausalLM": Family("state_space:jamba"),
    "Jais2ForCausalLM": Family("classic:nemotron4"),
    "KimiK25ForConditionalGeneration": Family("latent:deepseek", tower="moon_vit", text="text_config"),
    "KimiK3ForConditionalGeneration": Family("delta:kimi_linear", tower="moon_vit_3d", text="text_config"),
    "KimiLinearForCausalLM": Family("delta:kimi_linear"),
    "KimiVLForConditionalGeneration": Family("latent:deepseek", tower="moon_vit", text="text_config"),
    "Lfm2ForCausalLM": Family("lfm:lfm2"),
    "Lfm2MoeForCausalLM": Family("lfm:lfm2_moe"),
    "Lfm2VlForConditionalGeneration": Family("wrapped:lfm2_vl", tower="siglip_towers:lfm2_vl", text="text_config"),
    "Llama4ForCausalLM": Family("llama4:llama4"),
    "Llama4ForConditionalGeneration": Family("llama4:llama4", tower="llama4_vision", text="text_config"),
    "LlavaNextForConditionalGeneration": Family("wrapped:llava", tower="siglip_towers:llava_next", text="text_config"),
    "LlavaOnevisionForConditionalGeneration": Family(
        "wrapped:llava_onevision", tower="siglip_towers:llava_onevision", text="text_config"
    ),
    "LlavaForConditionalGeneration": Family("wrapped:llava", tower="llava", text="text_config"),
    "LlamaForCausalLM": Family("dense:llama"),
    "LongcatFlashForCausalLM": Family("latent:longcat"),
    "MambaForCausalLM": Family("state_space:falcon_mamba"),
    "Mamba2ForCausalLM": Family("state_space:pure_mamba2"),
    "MiMoForCausalLM": Family("dense:mimo"),
    "MiMoV2FlashForCausalLM": Family("sliding_mixture:mimo_v2"),
    "MiniCPM3ForCausalLM": Family("latent:tied_latent"),
    "MiniMaxForCausalLM": Family("delta:minimax_01"),
    "MiniMaxM1ForCausalLM": Family("delta:minimax_01"),
    "MiniMaxM2ForCausalLM": Family("mixture:minimax_m2"),
    "MiniMaxM3ForCausalLM": Family("block_sparse:minimax_m3"),
    "MiniMaxM3SparseForConditionalGeneration": Family(
        "block_sparse:minimax_m3", tower="clip_merge", text="text_config"
    ),
    "MiniMaxText01ForCausalLM": Family("delta:minimax_01"),
    "Ministral3ForCausalLM": Family("dense:mistral"),
    "Mistral3ForConditionalGeneration": Family("wrapped:mistral3", tower="pixtral", text="text_config"),
    "MistralForCausalLM": Family("dense:mistral"),
    "Mistral4ForCausalLM": Family("latent:deepseek"),
    "MixtralForCausalLM": Family("mixture:mixtral"),
    "MllamaForConditionalGeneration": Family("llama4:mllama", tower="mllama_vision", text="text_config"),
    "MPTForCausalLM": Family("early:mpt"),
    "MptForCausalLM": Family("early:mpt"),
    "NemotronForCausalLM": Family("classic:nemotron4"),
    "NemotronHForCausalLM": Family("state_space:nemotron_h"),
    "Olmo2ForCausalLM": Family("dense:olmo2"),
    "Olmo3ForCausalLM": Family("dense:olmo3"),
    "OlmoForCausalLM": Family("dense:olmo"),
    "OlmoeForCausalLM": Family("mixture:olmoe"),
    "OPTForCausalLM": Family("classic:opt"),
    "PaliGemmaForConditionalGeneration": Family(
        "wrapped:paligemma", tower="siglip_towers:paligemma", text="text_config"
    ),
    "Phi3ForCausalLM": Family("dense:phi3"),
    "PhiForCausalLM": Family("early:phi"),
    "PhimoeForCausalLM": Family("mixture:phimoe"),
    "PhiMoEForCausalLM": Family("mixture:phimoe"),
    "Qwen2_5OmniForConditionalGeneration": Family(
        "dense:qwen2", tower="audio_towers:qwen25_omni", text="thinker_config.text_config"
    ),
    "Qwen2_5OmniModel": Family("dense:qwen2", tower="audio_towers:qwen25_omni", text="thinker_config.text_config"),
    "Qwen2_5OmniThinkerForConditionalGeneration": Family(
        "dense:qwen2", tower="audio_towers:qwen25_omni", text="text_config"
    ),
    "Qwen2_5_VLForConditionalGeneration": Family("dense:qwen2", tower="qwen25_vision", text="text_config"),
    "Qwen2ForCausalLM": Family("dense:qwen2"),
    "Qwen2MoeForCausalLM": Family("mixture:qwen2_moe"),
    "Qwen2VLForConditionalGeneration": Family("dense:qwen2", tower="qwen2_vision", text="text_config"),
    "Qwen3_5ForCausalLM": Family("delta:qwen_next"),
    "Qwen3_5ForConditionalGeneration": Family("delta:qwen_next", tower="qwen3_vision", text="text_config"),
    "Qwen3_5MoeForCausalLM": Family("delta:qwen_next"),
    "Qwen3_5MoeForConditionalGeneration": Family("delta:qwen_next", tower="qwen3_vision", text="text_config"),
    "Qwen3ForCausalLM": Family("dense:qwen3"),
    "Qwen3MoeForCausalLM": Family("mixture:qwen3_moe"),
    "Qwen3NextForCausalLM": Family("delta:qwen_next"),
    "Qwen3OmniMoeForConditionalGeneration": Family(
        "mixture:qwen3_moe", tower="qwen3_omni", text="thinker_config.text_config"
    ),
    "Qwen3VLForConditionalGeneration": Family("dense:qwen3", tower="qwen3_vision", text="text_config"),
    "Qwen3VLMoeForConditionalGeneration": Family("mixture:qwen3_moe", tower="qwen3_vision", text="text_config"),
    "SeedOssForCausalLM": Family("dense:seed_oss"),
    "SmolVLMForConditionalGeneration": Family("wrapped:llava", tower="siglip_towers:idefics3", text="text_config"),
    "SmolLM3ForCausalLM": Family("dense:smollm3"),
    "SolarOpenForCausalLM": Family("shared_mixture:solar_open"),
    "StableLmForCausalLM": Family("classic:stablelm"),
    "Starcoder2ForCausalLM": Family("classic:starcoder2"),
    "Step3p7FlashForCausalLM": Family("sliding_mixture:step37"),
    "YoutuForCausalLM": Family("latent:tied_latent"),
    "Zamba2ForCausalLM": Family("state_space:zamba2"),
}


def language_builder(family: Family) -> Callable[[Fields], Outline]:
    """Return the function that builds the language model of a family."""
    builder: Callable[[Fields], Outline] = _load(family.language)
    return builder


def tower_builder(family: Family) -> Callable[[Fields, int], tuple[Tensor, ...]] | None:
    """Return the function that builds the image and audio encoders of a family, None for text alone."""
    if not family.tower:
        return None
    builder: Callable[[Fields, int], tuple[Tensor, ...]] = _load(
        family.tower if ":" in family.tower else f"towers:{family.tower}"
    )
    return builder


def _load(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(f"sizewell.catalog.architectures.{module}"), function)
