"""Which modules of a checkpoint a pattern of an ignore list means, and which modules a fused tensor is made of.

Checkpoints name the same module in several ways (`model.layers.3.block_sparse_moe.gate`,
`language_model.model.layers.3.mlp.gate`); names are compared without the wrappers in front.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from functools import lru_cache

from sizewell.specs.errors import BadInputError

_WRAPPERS = re.compile(r"^(?:(?:model|language_model|backbone|transformer|thinker)\.)+")
LONGEST_PATTERN = 512
MOST_PATTERNS = 100_000

FUSED: dict[str, tuple[str, ...]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    "gate_up_proj": ("gate_proj", "up_proj", "gate_up_proj", "w1", "w3"),
    "up_proj": ("up_proj", "fc1", "c_fc", "w1"),
    "down_proj": ("down_proj", "w2", "fc2", "c_proj"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
    "fused_wqa_wkv": ("q_a_proj", "kv_proj", "wq_a", "wkv"),
    "in_proj_qkvz": ("in_proj_qkvz", "in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_ba", "in_proj_b", "in_proj_a"),
    "w13": ("0.gate_proj", "0.up_proj", "0.w1", "0.w3", "gate_up_proj"),
    "w2": ("0.down_proj", "0.w2"),
}
"""The checkpoint's modules behind a fused one, by its last component."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "self_attn": ("self_attn", "attn", "mixer", "attention"),
    "mlp": ("mlp", "block_sparse_moe", "feed_forward", "ffn", "mixer"),
    "mamba": ("mamba", "mixer"),
    "linear_attn": ("linear_attn",),
    "shared_experts": ("shared_experts", "shared_expert", "shared_mlp"),
}
"""Other words checkpoints use for the same part of a layer."""


@lru_cache(maxsize=4096)
def modules_of(name: str) -> tuple[str, ...]:
    """Return every checkpoint module name (inside its layer) that a tensor's name can stand for."""
    *path, last = name.split(".")
    found = [""]
    for component in path:
        found = [f"{prefix}{word}." for prefix in found for word in SYNONYMS.get(component, (component,))]
    return tuple(f"{prefix}{word}" for prefix in found for word in FUSED.get(last, (last,)))


def without_wrappers(name: str) -> str:
    """Return a module name without `model.`, `language_model.` and the like in front."""
    return _WRAPPERS.sub("", name)


class Patterns:
    """A list of module names, prefixes (`…self_attn*`), globs and `re:` expressions; matches whole components."""

    def __init__(self, patterns: Iterable[str], source: str) -> None:
        self._names: set[str] = set()
        self._prefixes: set[str] = set()
        self._expressions: list[re.Pattern[str]] = []
        self._of_layer: dict[str, list[str]] = {}
        for number, pattern in enumerate(patterns):
            if len(pattern) > LONGEST_PATTERN or number >= MOST_PATTERNS:
                raise BadInputError(f"{source}: a list of modules holds an entry too long or too many entries")
            self._add(pattern, source)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._numbered = any(re.search(r"\d", e.pattern) for e in self._expressions)

    def match(self, module: str) -> bool:
        """Return whether a module without wrappers in its name, or a part of its path, is meant."""
        if any(module[:length] in self._prefixes for length in self._lengths):
            return True
        if self._names and any(run in self._names for run in _runs(module)):
            return True
        return any(e.match(module) or e.match("model." + module) for e in self._expressions)

    def signature(self, index: int) -> Hashable:
        """Return a value equal for two layers whose modules these patterns treat alike."""
        if self._numbered:
            return index
        place = f"layers.{index}."
        broad = any(place.startswith(prefix) for prefix in self._prefixes)
        return broad, frozenset(self._of_layer.get(str(index), ()))

    def _add(self, pattern: str, source: str) -> None:
        if pattern.startswith("re:"):
            self._expressions.append(_compiled(pattern[3:], source))
            return
        # A star that stands for the number of an expert: one expert speaks for all.
        name = without_wrappers(pattern).replace(".experts.*.", ".experts.0.")
        if "*" not in name:
            self._names.add(name)
        elif name.endswith("*") and "*" not in name[:-1] and len(name) > 1:
            self._prefixes.add(name[:-1])
        else:
            inside = re.escape(name).replace(r"\*", ".*")
            self._expressions.append(re.compile(f"(?:{inside})(?:$|\\.)"))
            return
        numbered = _LAYER.match(name)
        if numbered:
            self._of_layer.setdefault(numbered[1], []).append(numbered[2])


_LAYER = re.compile(r"layers\.(\d+)\.(.*)")

# Nested quantifiers can take exponential time; no published list needs them.
_NESTED = re.compile(r"[*+}]\)?[*+{]|\([^)]*[*+][^)]*\)[*+{]")


def _compiled(expression: str, source: str) -> re.Pattern[str]:
    if _NESTED.search(expression):
        raise BadInputError(f"{source}: the module expression {expression!r} nests repetitions")
    try:
        return re.compile(expression)
    except re.error as error:
        raise BadInputError(f"{source}: the module expression {expression!r} is not valid ({error})") from None


@lru_cache(maxsize=65536)
def _runs(module: str) -> tuple[str, ...]:
    """Return every run of whole components of a dotted name."""
    parts = module.split(".")
    return tuple(".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1))
