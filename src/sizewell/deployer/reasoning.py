"""Which parser splits a model's thinking from its answers, by what each engine calls it."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.specs.engine_flags import EngineFlags

PARSERS: Mapping[str, Mapping[str, str]] = {
    "deepseek-r1": {"vllm": "deepseek_r1", "sglang": "deepseek-r1"},
    "qwq": {"vllm": "deepseek_r1", "sglang": "deepseek-r1"},
    "qwen3": {"vllm": "qwen3", "sglang": "qwen3"},
}
"""Part of a model's name → engine → parser; distilled models keep the name of their teacher."""


def usual_parser(model: str, flags: EngineFlags) -> str | None:
    """Return the parser of a reasoning model, None for another model or a release without parsers."""
    if not flags.knows("--reasoning-parser"):
        return None
    lowered = model.lower()
    return next((by[flags.engine] for part, by in PARSERS.items() if part in lowered and flags.engine in by), None)
