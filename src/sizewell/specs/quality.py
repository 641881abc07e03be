"""What weight formats cost in answers: published scores of quantized models over those of the original.

Nothing is interpolated between formats; a format nobody has published for has no figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

Tasks = Literal["knowledge", "reasoning", "code", "perplexity"]
Scope = Literal["model", "family", "size", "format", "reference"]
"""Whose results a figure rests on: this model's, its family's at its size, any of its size, any of the format;
`reference` is the checkpoint as published, 1 by definition."""

_REFERENCES = ("native", "auto", "bf16", "fp16", "fp32")
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])")
_MIXTURE = re.compile(r"(?<![a-z0-9.])(\d+)x(\d+(?:\.\d+)?)b(?![a-z0-9])")
_QUANTIZED = re.compile(
    r"[-.](fp8|fp4|nvfp4|mxfp4|awq|gptq|int4|int8|w4a16|w8a8|w8a16|gguf|bnb|nf4|quantized|dynamic|block|static|per|tensor|kv)\b"
)
_CLASS_LIMITS_B = (4.5, 16.0, 45.0, 130.0)
_ENOUGH = 3
"""Results of unrelated models of a size that speak for one of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """One published score before and after; `recovery_fraction` is after over before (perplexity: before over after).

    `size_b` is billions of parameters where the name does not say. `several_models` marks a mean over models,
    `trained` a score after further training: neither is of one plain model.
    """

    model: str
    benchmark: str
    tasks: Tasks
    scheme: str
    recovery_fraction: float
    source: str
    date: str
    size_b: float | None = None
    several_models: bool = False
    trained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The share of the original's score a weight format keeps: median and range over `results` published scores.

    `measure` is `perplexity` where only that was published: its ratio is not a share of right answers. `note` is what
    has to be known about the format's results.
    """

    fraction: float
    low: float
    high: float
    results: int
    models: tuple[str, ...]
    scope: Scope
    measure: Literal["accuracy", "perplexity"]
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityTable:
    """All published results by format, and what is to be known about each format."""

    results: Mapping[str, tuple[QualityResult, ...]]
    notes: Mapping[str, str]

    def recovery(self, weight_format: str, model: str, parameters: float | None = None) -> Recovery | None:
        """Return what the format keeps of the model's score, None when nothing is published for the format.

        The nearest scope with enough results answers: the model, its family at its size, its size, the format. Scores
        of right answers come before perplexity. `parameters` gives the size where the name does not.
        """
        if weight_format in _REFERENCES:
            return Recovery(
                fraction=1.0, low=1.0, high=1.0, results=0, models=(), scope="reference", measure="accuracy", sources=()
            )  # fmt: skip
        plain = [row for row in self.results.get(published_format(weight_format), ()) if not row.trained]
        accuracy = [row for row in plain if row.tasks != "perplexity"]
        other = [row for row in plain if row.tasks == "perplexity"]
        found = _nearest(accuracy, model, parameters) or _nearest(other, model, parameters)
        return replace(found, note=self.notes.get(published_format(weight_format), "")) if found else None

    def why_none(self, weight_format: str) -> str:
        """Return why `recovery` has no answer."""
        note = self.notes.get(published_format(weight_format), "")
        return f"no published accuracy of {weight_format} against its original is known{'; ' + note if note else ''}"


def published_format(weight_format: str) -> str:
    """Return the format under which results are published: block and channel scales share one, AWQ and GPTQ too."""
    name = weight_format.lower()
    if name.startswith(("awq", "gptq-int4", "int4", "w4a16")):
        return "int4-w4a16"
    if name.startswith(("gptq-int8", "int8-g", "int8-w8a16", "w8a16")):
        return "int8-w8a16"
    if name.startswith(("int8", "w8a8")):
        return "int8-w8a8"
    if name.startswith(("gguf-q4_k", "gguf-q3_k", "gguf-q5_k")) and name.count("_") == 1:
        return f"{name}_m"
    return next((short for short in ("fp8", "nvfp4", "mxfp4", "bnb-nf4") if name.startswith(short)), name)


def size_of(model: str) -> float | None:
    """Return the billions of parameters a name states, e.g. 235 for `Qwen3-235B-A22B`; None when it states none."""
    name = model.lower()
    mixture = _MIXTURE.search(name)
    if mixture:
        return float(mixture[1]) * float(mixture[2])
    found = _SIZE.search(name)
    return float(found[1]) if found else None


def same_model(model: str) -> str:
    """Return a model's name without owner, format suffixes and the maker's prefix: one name for all its checkpoints."""
    name = model.lower().rpartition("/")[2]
    first = _QUANTIZED.search(name)
    return (name[: first.start()] if first else name).removeprefix("meta-").replace("_", ".")


def _family(model: str) -> str:
    return re.split(r"[^a-z]", same_model(model), maxsplit=1)[0]


def _size_class(size_b: float | None) -> int | None:
    return None if size_b is None else sum(size_b > limit for limit in _CLASS_LIMITS_B)


def _nearest(rows: list[QualityResult], model: str, parameters: float | None) -> Recovery | None:
    size_b = parameters / 1e9 if parameters else size_of(model)
    single = [row for row in rows if not row.several_models]
    alike = [row for row in single if _size_class(_row_size(row, parameters)) == _size_class(size_b)]
    scopes: tuple[tuple[Scope, int, list[QualityResult]], ...] = (
        ("model", 1, [row for row in single if same_model(row.model) == same_model(model)]),
        ("family", 1, [row for row in alike if _family(row.model) == _family(model)]),
        ("size", _ENOUGH, alike if size_b is not None else []),
        ("format", 1, rows),
    )
    return next((_recovery(found, scope) for scope, least, found in scopes if len(found) >= least), None)


def _row_size(row: QualityResult, parameters: float | None) -> float | None:
    """Return a result's size as it compares: a model asked for without a size is like those whose names have none."""
    return (row.size_b if parameters else None) or size_of(row.model)


def _recovery(rows: list[QualityResult], scope: Scope) -> Recovery:
    fractions = [row.recovery_fraction for row in rows]
    return Recovery(
        fraction=median(fractions),
        low=min(fractions),
        high=max(fractions),
        results=len(rows),
        models=tuple(dict.fromkeys(row.model for row in rows)),
        scope=scope,
        measure="perplexity" if rows[0].tasks == "perplexity" else "accuracy",
        sources=tuple(dict.fromkeys(row.source for row in rows)),
    )
