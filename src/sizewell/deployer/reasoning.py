"""Which parser splits a model's thinking from its answers, by what each engine calls it."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.specs.engine_flags import EngineFlags

Names = tuple[str, ...]
PARSERS: Mapping[str, Mapping[str, Names]] = {
    "deepseek-r1": {"vllm": ("deepseek_r1",), "sglang": ("deepseek-r1",)},
    "qwq": {"vllm": ("deepseek_r1",), "sglang": ("deepseek-r1",)},
    "qwen3": {"vllm": ("qwen3", "deepseek_r1"), "sglang": ("qwen3", "deepseek-r1")},
    "glm-4.5": {"vllm": ("glm45",), "sglang": ("glm45",)},
    "glm-4.6": {"vllm": ("glm45",), "sglang": ("glm45",)},
    "glm-4.7": {"vllm": ("glm45",), "sglang": ("glm45",)},
    "glm-5": {"vllm": ("glm45",), "sglang": ("glm45",)},
    "kimi-k2-thinking": {"vllm": ("kimi_k2",), "sglang": ("kimi_k2",)},
    "gpt-oss": {"sglang": ("gpt-oss",)},
}
"""Part of a model's name → engine → parsers, the first that the release has; distilled models keep the name of their
teacher, and vLLM needs none for gpt-oss."""
FLAG = "--reasoning-parser"
NEVER_THINK = ("-instruct", "-coder", "-embedding", "-reranker", "-base")
"""Parts of names of models that do not think though their family does: a parser takes all they say for thinking."""


def usual_parser(model: str, flags: EngineFlags) -> str | None:
    """Return the parser of a reasoning model, None for another model or a release without one for it."""
    if not flags.knows(FLAG):
        return None
    lowered = model.lower()
    if any(part in lowered for part in NEVER_THINK):
        return None
    named: Names = next(
        (by[flags.engine] for part, by in PARSERS.items() if part in lowered and flags.engine in by), ()
    )
    return next((name for name in named if flags.takes(FLAG, name)), None)
