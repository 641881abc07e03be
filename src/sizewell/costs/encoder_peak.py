"""The peak inside an image encoder while an engine profiles it, before the language model runs.

One budget of the largest image goes through the tower at once: every patch holds its residual, its normed copy and the
two sides of the activation in the widest block, beside the pixels it came from (vllm Qwen3_VisionBlock).
"""

from __future__ import annotations

from sizewell.costs.lines import LedgerLine
from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor


def encoder_line(model: ModelSpec, cut: Parallelism, tokens: int, engine: EngineSpec) -> LedgerLine | None:
    """Return the peak of one rank's encoder; None where the engine profiles none or its largest image is not known."""
    if engine.profile != "v1" or not (model.encoder_item_tokens and model.encoder_patches_per_token):
        return None
    qkv, first, pixels = (_tensor(model, ending) for ending in (".qkv", ".fc1", "patch_embed"))
    if qkv is None or first is None or pixels is None:
        return None
    patches = max(tokens, model.encoder_item_tokens) * model.encoder_patches_per_token
    hidden, inner = qkv.rank_columns(1), first.rank_rows(cut.tp)
    mlp = inner + inner / len(first.rows)
    attention = 2 * qkv.rank_rows(cut.tp)
    width = 2 * hidden + max(mlp, attention)
    return LedgerLine(
        name="activation peak: image encoder",
        bytes=patches * 2.0 * (width + pixels.rank_columns(1)),
        formula="{patches} patches × 2 B × ({width} of the widest block + {pixels} pixels)",
        inputs=(("patches", patches), ("width", width), ("pixels", pixels.rank_columns(1))),
    )


def _tensor(model: ModelSpec, ending: str) -> Tensor | None:
    return next((tensor for tensor in model.vision if tensor.name.endswith(ending)), None)
