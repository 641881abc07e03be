"""Which models an engine loads only with code that lies beside their weights.

Such code is a tokenizer or a configuration that neither the engine nor transformers has a class for. Read in vLLM 0.32
with transformers 5.19 and in SGLang 0.5.23 with 5.23 (their registries against the `model_type` of every model of the
catalogue); before those in what was reported: vllm-project/vllm issue 9531 (InternVL), vllm-project/recipes pull
request 116 (Kimi), EleutherAI/lm-evaluation-harness issue 2370 (InternLM), NVIDIA/dgx-spark-playbooks pull request 55
(Nemotron). That older releases came to know DeepSeek or ceased to know EXAONE, and that Hunyuan-A13B has a tokenizer of
its own, is recalled, not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sizewell.deployer.launch import Flag, Launch
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.release import release_numbers

Release = tuple[int, ...]
KNOWN_NOWHERE = frozenset({
    "ArcticForCausalLM", "BaichuanForCausalLM", "ChatGLMModel", "DeciLMForCausalLM", "DeepseekForCausalLM",
    "Grok1ModelForCausalLM", "InternLM2ForCausalLM", "InternLM3ForCausalLM", "InternLMForCausalLM", "MiMoForCausalLM",
    "MiniMaxM1ForCausalLM", "MiniMaxText01ForCausalLM",
})  # fmt: skip
"""Architectures whose tokenizer or configuration no release brings."""
OWN_TOKENIZERS = ("kimi", "moonlight", "hunyuan-a13b")
"""Parts of the names of models that share an architecture, or have one, but whose tokenizer is a file of theirs."""
KNOWN_FROM: Mapping[tuple[EngineName, str], Release] = {
    ("vllm", "DeepseekV3ForCausalLM"): (0, 8, 3), ("vllm", "DeepseekV2ForCausalLM"): (0, 10, 1),
    ("vllm", "NemotronHForCausalLM"): (0, 32), ("vllm", "MiniMaxM2ForCausalLM"): (0, 32),
    ("vllm", "MiMoV2FlashForCausalLM"): (0, 32), ("vllm", "Step3p7FlashForCausalLM"): (0, 32),
    ("sglang", "DeepseekV2ForCausalLM"): (0, 4, 10), ("sglang", "MiniMaxM2ForCausalLM"): (0, 5, 23),
    ("sglang", "MiMoV2FlashForCausalLM"): (0, 5, 23), ("sglang", "Step3p7FlashForCausalLM"): (0, 5, 23),
    ("sglang", "NemotronHForCausalLM"): (0, 5, 23),
}  # fmt: skip
"""Engine and architecture → the first release known to have what it takes; where it was read only, no earlier one."""
KNOWN_BEFORE: Mapping[tuple[EngineName, str], Release] = {
    ("vllm", "InternVLChatModel"): (0,), ("vllm", "ExaoneForCausalLM"): (0, 9),
}  # fmt: skip
"""Engine and architecture → the first release that is not known to have it any more."""


def needs_code(model: ModelSpec, engine: EngineSpec) -> bool:
    """Return whether a release loads a model only if code of its checkpoint may run."""
    if engine.name == "llama.cpp":
        return False
    if model.architecture in KNOWN_NOWHERE or any(part in model.name.lower() for part in OWN_TOKENIZERS):
        return True
    what, release = (engine.name, model.architecture), release_numbers(engine.version)
    return release < KNOWN_FROM.get(what, ()) or (what in KNOWN_BEFORE and release >= KNOWN_BEFORE[what])


def trusted(launch: Launch) -> Iterator[Flag]:
    """Yield the word that lets code of the checkpoint run, where it may."""
    if launch.site.trust_remote_code:
        lacks = needs_code(launch.deployment.model, launch.deployment.engine)
        why = "this release loads it only with the code that it brings" if lacks else "asked for"
        yield Flag(name="--trust-remote-code", why=f"{why}: code in the checkpoint may run")
