"""What the files of a checkpoint say of its size, beside what its configuration comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizewell.catalog.safetensors import INDEX_NAME
from sizewell.specs.model import ExactSizes, FileClass, ModelSpec

LEAST = 0.9
"""Share of what the configuration comes to below which files are another model's, or part of it."""

WORTH_SAYING = 0.01
"""Difference between files and configuration from which on an answer tells of it."""

Scales = tuple[tuple[FileClass, float], ...]


def with_sizes(model: ModelSpec, sizes: ExactSizes | None, has_index: bool) -> ModelSpec:
    """Return the model with the sizes of its files; what they leave open or contradict is said under `assumed`."""
    if sizes is None:
        left = (f"sizes by arithmetic: {INDEX_NAME} states no total_size",) if has_index else ()
        return replace(model, assumed=(*model.assumed, *left)) if left else model
    # Imported here: only checkpoints at hand need it.
    from sizewell.costs.checkpoint import stored_bytes

    counted = stored_bytes(model)
    total = sizes.total_bytes
    nearest = min(_wholes(model, counted), key=lambda whole: abs(total - whole))
    sizes = replace(sizes, scales=_by_class(sizes, counted) or _by_total(sizes, counted, nearest))
    return replace(model, exact_sizes=sizes, assumed=(*model.assumed, *_contradicted(sizes, nearest)))


def _wholes(model: ModelSpec, counted: Mapping[FileClass, float]) -> tuple[float, ...]:
    """Return what a whole checkpoint may come to: with prediction layers or not, a tied head written out or not."""
    whole = sum(counted.values())
    tied = counted["embedding"] if model.tied else 0.0
    return tuple(whole - left + more for left in (0.0, counted.get("mtp", 0.0)) for more in (0.0, tied))


def _by_class(sizes: ExactSizes, counted: Mapping[FileClass, float]) -> Scales:
    """Return the scale of each class; nothing where names tell them apart otherwise than the configuration does."""
    stored = dict(sizes.by_class)
    scales = tuple((kind, stored.get(kind, 0) / size) for kind, size in counted.items() if kind != "mtp" and size)
    return scales if all(_alike(scale) for _, scale in scales) else ()


def _by_total(sizes: ExactSizes, counted: Mapping[FileClass, float], nearest: float) -> Scales:
    scale = sizes.total_bytes / nearest
    return tuple((kind, scale) for kind in counted) if _alike(scale) else ()


def _alike(scale: float) -> bool:
    return LEAST <= scale <= 1 / LEAST


def _contradicted(sizes: ExactSizes, nearest: float) -> tuple[str, ...]:
    """Return what is to be said of files that differ from the configuration; 32-bit ones are twice as large."""
    ratio = sizes.total_bytes / nearest
    if abs(ratio - 1) <= WORTH_SAYING or _alike(ratio / 2):
        return ()
    said = f"{sizes.source} say {sizes.total_bytes / 1e9:,.3g} GB, the configuration {nearest / 1e9:,.3g} GB"
    if sizes.scales:
        return (f"{said} ({ratio - 1:+.1%}): weights in memory follow the files",)
    return (f"{said}: disk and loading follow the files, memory on the accelerator the configuration",)
