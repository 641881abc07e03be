"""Which parser splits a model's thinking from its answers, by what each engine calls it."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.specs.engine_flags import EngineFlags

PARSERS: Mapping[str, Mapping[str, str]] = {
    "deepseek-r1": {"vllm": "deepseek_r1", "sglang": "deepseek-r1"},
    "qwq": {"vllm": "deepseek_r1", "sglang": "deepseek-r1"},
    "qwen3": {"vllm": "qwen3", "sglang": "qwen3"},
    "glm-4.5": {"vllm": "glm45", "sglang": "glm45"},
    "glm-4.6": {"vllm": "glm45", "sglang": "glm45"},
    "glm-4.7": {"vllm": "glm45", "sglang": "glm45"},
    "gpt-oss": {"sglang": "gpt-oss"},
}
"""Part of a model's name → engine → parser; distilled models keep the name of their teacher, and vLLM needs none for
gpt-oss."""
NEVER_THINK = ("-instruct", "-coder", "-embedding", "-reranker", "-base")
"""Parts of names of models that do not think though their family does: a parser takes all they say for thinking."""


def usual_parser(model: str, flags: EngineFlags) -> str | None:
    """Return the parser of a reasoning model, None for another model or a release without parsers."""
    if not flags.knows("--reasoning-parser"):
        return None
    lowered = model.lower()
    if any(part in lowered for part in NEVER_THINK):
        return None
    return next((by[flags.engine] for part, by in PARSERS.items() if part in lowered and flags.engine in by), None)
