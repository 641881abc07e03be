"""Re-uploads and quantized copies of shipped models, told by their names alone.

Consulted last, where neither a cache nor a hub has the configuration. A name is taken apart into owner, a shipped
model's exact name and one ending that says the weight format; anything else is not understood. What was taken on
the name's word stands in `ModelSpec.assumed`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from sizewell.specs.gguf_mix import MIXES
from sizewell.specs.layers import Layer
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

SUFFIXES = Path(__file__).parent / "data" / "models" / "suffixes.toml"

SPELLINGS = ("", "-hf", "-bf16")
"""Endings of a shipped name that a copy's name may leave out."""

TUNINGS = ("", "-instruct", "-chat", "-it", "-base", "-pt", "-hf", "-instruct-hf", "-chat-hf")
"""Endings of base models and their tuned variants, which share a configuration where only one is shipped."""

QUANTIZATION_FIELDS = frozenset({"quantization_config", "hf_quant_config", "quantization", "compression_config"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """An ending of a name and the formats it stands for; `owner` empty holds for all."""

    ending: str
    owner: str
    weights: str
    kv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """What a name says: the shipped model it copies and the formats, empty where they are that model's own."""

    base: str
    weights: str = ""
    kv: str = ""

    def stated(self, name: str) -> tuple[str, ...]:
        """Return what was taken on the word of `name`."""
        weights = f"weights {self.weights}" if self.weights else "weights as there"
        cached = f", cache {self.kv}" if self.kv else ""
        return (f"{weights}{cached}: from the name {name}; config of {self.base}",)


def derivation(name: str, shipped: Mapping[str, str]) -> Derivation | None:
    """Return what `name` is a copy of, None when that is not plain.

    `shipped` maps each id to its file: two ids of one file are the same model.
    """
    owner, _, bare = name.lower().rpartition("/")
    own = [found for found in _named(_spelled(bare), shipped) if owner and found.lower().startswith(f"{owner}/")]
    if same := _only(own, shipped):
        return Derivation(base=same)
    suffix = suffix_of(owner, bare)
    if suffix is not None:
        base = _base(bare.removesuffix(suffix.ending), shipped)
        if base is not None and suffix_of("", base.lower().removesuffix("-bf16")) is None:
            return Derivation(base=base, weights=suffix.weights, kv=suffix.kv)
    same = _only(_named({bare}, shipped) or _named(_spelled(bare), shipped), shipped)
    if same is None and suffix is None:
        same = _only(_named(_tuned(bare), shipped), shipped)
    return Derivation(base=same) if same else None


def suffix_of(owner: str, bare: str) -> Suffix | None:
    """Return the longest ending that a lower-case name carries, the owner's own reading of it first."""
    found = [s for s in _suffixes() if s.owner in ("", owner) and bare.endswith(s.ending) and bare != s.ending]
    return max(found, key=lambda s: (len(s.ending), s.owner != ""), default=None)


@cache
def _suffixes() -> tuple[Suffix, ...]:
    rows = tomllib.loads(SUFFIXES.read_text(encoding="utf-8"))["suffix"]
    mixes = [f"-{mix}{tail}" for mix in MIXES for tail in ("-gguf", "")]
    ggufs = [Suffix(ending=e, owner="", weights=f"gguf-{e[1:].removesuffix('-gguf')}", kv="") for e in mixes]
    return tuple(s for row in rows for s in _of_row(row)) + tuple(ggufs)


def _of_row(row: Mapping[str, Any]) -> Iterator[Suffix]:
    for ending in row["ends"]:
        digit = re.search(r"\d", ending)
        weights = row["weights"].format(digit=digit[0] if digit else "")
        for owner in row.get("owners", ("",)):
            yield Suffix(ending=ending, owner=owner, weights=weights, kv=row.get("kv", ""))


def _base(stem: str, shipped: Mapping[str, str]) -> str | None:
    found = _named({stem}, shipped) or _named(_spelled(stem), shipped) or _named(_tuned(stem), shipped)
    return _only(found, shipped)


def _only(found: list[str], shipped: Mapping[str, str]) -> str | None:
    """Return the first of ids that are all the same model."""
    return found[0] if len({shipped[name] for name in found}) == 1 else None


def _named(names: set[str], shipped: Mapping[str, str]) -> list[str]:
    """Return the ids with one of the lower-case names, alone or as `owner_name`, as re-uploads spell it."""
    return [i for i in shipped if {i.lower().rpartition("/")[2], i.lower().replace("/", "_")} & names]


def _spelled(stem: str) -> set[str]:
    """Return how a shipped name may spell `stem`: with an ending copies leave out, with Meta's prefix or without."""
    stems = {stem, stem.removeprefix("meta-"), f"meta-{stem}"} if "llama-3" in stem else {stem}
    return {found + ending for found in stems for ending in SPELLINGS}


def _tuned(stem: str) -> set[str]:
    roots = {stem.removesuffix(tuning) for tuning in TUNINGS}
    return {name for root in roots if root for tuning in TUNINGS for name in _spelled(root + tuning)}


def without_quantization(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of the same model in 16 bits."""
    return {
        key: without_quantization(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in QUANTIZATION_FIELDS
    }


def stored_as(model: ModelSpec, found: Derivation) -> ModelSpec:
    """Return a 16-bit model in the formats its name states."""
    if found.weights == "bf16":
        return model
    layer = _storing(model, found.weights)
    return replace(
        model,
        layers=tuple(map(layer, model.layers)),
        mtp_layers=tuple(map(layer, model.mtp_layers)),
        embedding=_stored(model.embedding, model, found.weights),
        head=_stored(model.head, model, found.weights) if model.head else None,
        weight_format=found.weights,
        kv_format=found.kv or "auto",
    )


def _storing(model: ModelSpec, weight_format: str) -> Callable[[Layer], Layer]:
    made: dict[int, Layer] = {}

    def layer(plain: Layer) -> Layer:
        if id(plain) not in made:
            tensors = tuple(_stored(tensor, model, weight_format) for tensor in plain.tensors)
            made[id(plain)] = replace(plain, tensors=tensors)
        return made[id(plain)]

    return layer


def _stored(tensor: Tensor, model: ModelSpec, weight_format: str) -> Tensor:
    encoding = stored_encoding(tensor, model, weight_format)
    return tensor if encoding is model.dtype else replace(tensor, stored=encoding)
