"""Workspaces that routed experts leave behind: what a release's kernels keep for the next layer, beside the sampler.

Modular kernels share two workspaces over all layers and never return them; plain ones return theirs. Which kernel runs
depends on the release, the format of the experts, the accelerator and, for block-quantised ones, the number of ranks
(vllm model_executor/layers/fused_moe: modular_kernel.py, deep_gemm_moe.py, cutlass_moe.py, oracle/fp8.py).
"""

from __future__ import annotations

from math import ceil
from typing import Literal

from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.layers import Layer, MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import stored_encoding

EXPERT_CHUNK_TOKENS = 32768
"""Routed experts work on at most this many tokens at a time."""
GROUPED_TILE_ROWS = 128
_MANY_RANKS = 8
"""Cut so many times, block-quantised experts are not grouped by default from 0.13 on."""
_OWN_OUTPUT = {"channel", "grouped"}
"""Before 0.13 the output of a layer had a buffer of its own."""
_SIXTEEN_OR_FP8 = {"bf16", "fp16", "fp8-tensor", "fp8-channel", "fp8-block128"}

Layout = Literal["none", "plain", "plain, output apart", "grouped", "grouped, output apart"]


def kept_workspace_bytes(
    model: ModelSpec, formats: Formats, cut: Parallelism, tokens: int, engine: EngineSpec
) -> float:
    """Return what the gated routed experts of the widest layer keep beyond the forward pass."""
    rows = min(tokens, EXPERT_CHUNK_TOKENS)
    sizes = (
        _kept_elements(layer.mlp, expert_hidden(layer, model.hidden), cut, rows, layout)
        for layer in model.layer_counts
        if isinstance(layer.mlp, MoeMlp) and layer.mlp.gated and (name := _format(layer, model, formats))
        if (layout := _layout(name, cut, engine)) != "none"
    )
    return 2 * max(sizes, default=0.0)


def most_workspace_bytes(model: ModelSpec, formats: Formats, cut: Parallelism, tokens: int) -> float:
    """Return what 8-bit experts would keep in the plain layout, whether this release keeps it or not."""
    sizes = (
        2 * _plain(layer.mlp, expert_hidden(layer, model.hidden), cut)
        for layer in model.layer_counts
        if isinstance(layer.mlp, MoeMlp) and layer.mlp.gated and _format(layer, model, formats).startswith("fp8")
    )
    return min(tokens, EXPERT_CHUNK_TOKENS) * max(sizes, default=0.0)


def expert_hidden(layer: Layer, hidden: int) -> int:
    """Width routed experts work in: the hidden one, or that of a latent before them."""
    routed = [t for t in layer.tensors if t.role == "routed-experts" and t.columns and not t.columns.sharded]
    return routed[0].rank_columns(1) if routed else hidden


def grouped_rows(mlp: MoeMlp, cut: Parallelism, tokens: int) -> int:
    """Return the rows of a grouped product: sorted by expert, each expert's padded to a tile."""
    return tokens * mlp.top_k + ceil(mlp.experts / cut.ep) * (GROUPED_TILE_ROWS - 1)


def _layout(name: str, cut: Parallelism, engine: EngineSpec) -> Layout:
    kept = engine.kept_fp8_experts
    if name in {"bf16", "fp16"} or engine.fp8_experts == "triton":
        return "plain" if engine.keeps_expert_buffers and name in _SIXTEEN_OR_FP8 else "none"
    if engine.fp8_experts == "marlin" or kept == "none":
        return "none"
    if name == "fp8-channel" or (name == "fp8-tensor" and kept == "modular"):
        return "plain, output apart" if kept in _OWN_OUTPUT else "plain"
    if not name.startswith("fp8-block") or kept not in {"grouped", "few ranks", "modular"}:
        return "none"
    many = (1 if cut.ep > 1 else cut.tp * cut.dp) >= _MANY_RANKS
    if kept == "grouped" or not many:
        return "grouped, output apart" if kept in _OWN_OUTPUT else "grouped"
    return "plain" if kept == "modular" else "none"


def _kept_elements(mlp: MoeMlp, hidden: int, cut: Parallelism, rows: int, layout: Layout) -> float:
    """Return the elements kept for `rows` tokens in the engine's layout of workspaces."""
    output = rows * hidden
    if layout.startswith("plain"):
        return rows * _plain(mlp, hidden, cut) + (output if layout.endswith("apart") else 0)
    inner, padded = _inner(mlp, cut), grouped_rows(mlp, cut, rows)
    first = padded * 2 * inner
    # From 0.13 on the output lies in the first workspace where that is large enough.
    return first + padded * max(inner, hidden) + (output if layout.endswith("apart") or first < output else 0)


def _plain(mlp: MoeMlp, hidden: int, cut: Parallelism) -> float:
    """Elements per token of two workspaces of top_k rows: as wide as an expert, and as gate and up (TritonExperts)."""
    inner = _inner(mlp, cut)
    return mlp.top_k * (max(inner, hidden) + max(2 * inner, hidden))


def _inner(mlp: MoeMlp, cut: Parallelism) -> float:
    return mlp.intermediate if cut.ep > 1 else mlp.intermediate / (cut.tp * cut.dp)


def _format(layer: Layer, model: ModelSpec, formats: Formats) -> str:
    routed = next((tensor for tensor in layer.tensors if tensor.role == "routed-experts"), None)
    return stored_encoding(routed, model, formats.weight).name if routed else ""
