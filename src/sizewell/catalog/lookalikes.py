"""A shipped model of the same shape for a checkpoint whose config is not at hand: repacked, re-quantised, re-tuned."""

from __future__ import annotations

import re
from functools import cache

from sizewell.catalog.models import list_models

_FORMAT = (
    r"[-_.](?:quantized|bf16|fp16|fp8|fp4|nvfp4|mxfp4|awq|gptq|int4|int8|w8a8|w8a16|w4a16|bnb|4bit|8bit|gguf|unsloth"
    r"|dynamic|block|static|marlin|autoround|kv)$"
)
_TUNING = r"[-_.](?:instruct|chat|base|it|hf|1m|25\d\d|0\d\d\d)$"


def shipped_lookalike(name: str) -> str | None:
    """Return the id of a shipped model, not quantised, that differs from `name` by owner, format or tuning alone."""
    for ending in (_FORMAT, f"{_FORMAT}|{_TUNING}"):
        found = _shipped(ending).get(_stripped(name, ending))
        if found:
            return found
    return None


@cache
def _shipped(ending: str) -> dict[str, str]:
    plain = [entry.id for entry in list_models() if _stripped(entry.id, _FORMAT) == _stripped(entry.id, r"$^")]
    return {_stripped(identity, ending): identity for identity in sorted(plain, key=len, reverse=True)}


def _stripped(name: str, ending: str) -> str:
    rest = name.rpartition("/")[2].lower().removeprefix("meta-")
    while (shorter := re.sub(ending, "", rest)) != rest:
        rest = shorter
    return rest
