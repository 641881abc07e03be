"""What the files of a checkpoint say of its size, beside what its configuration comes to."""

from __future__ import annotations

from dataclasses import replace

from sizewell.catalog.safetensors import INDEX_NAME
from sizewell.specs.model import ExactSizes, ModelSpec

LEAST = 0.9
"""Share of what the configuration comes to below which files are another model's, or part of it."""


def with_sizes(model: ModelSpec, sizes: ExactSizes | None, has_index: bool) -> ModelSpec:
    """Return the model with the sizes of its files; what they leave open or contradict is said under `assumed`."""
    if sizes is None:
        left = (f"sizes by arithmetic: {INDEX_NAME} states no total_size",) if has_index else ()
        return replace(model, assumed=(*model.assumed, *left)) if left else model
    return replace(model, exact_sizes=sizes, assumed=(*model.assumed, *_contradicted(model, sizes)))


def _contradicted(model: ModelSpec, sizes: ExactSizes) -> tuple[str, ...]:
    """Return what is to be said of files that cannot be those of the configuration; 32-bit ones are twice as large."""
    # Imported here: only checkpoints at hand need it.
    from sizewell.costs.weights import WeightRules, rank_weight_bytes
    from sizewell.specs.deployment import Parallelism

    (counted,) = rank_weight_bytes(model, "native", Parallelism(), WeightRules(absorbed="none", rope_tables=False))
    drafts = 2.0 * model.mtp_parameters
    if any(LEAST * counted <= sizes.total_bytes / wide <= (counted + drafts) / LEAST for wide in (1, 2)):
        return ()
    said = f"{sizes.source} say {sizes.total_bytes / 1e9:,.3g} GB, the configuration {counted / 1e9:,.3g} GB"
    return (f"{said}: disk and loading follow the files, memory on the accelerator the configuration",)
