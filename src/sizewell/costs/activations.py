"""What one rank's profile run peaks at beside weights and cache: forward activations, sampler, expert workspaces.

A rank sees all tokens of its batch whatever the tensor-parallel size, so the peak is counted per GPU. Logits are
gathered whole on every rank, so the sampler is never divided. Derivation: docs/cost-model.md.
"""

from __future__ import annotations

from sizewell.costs.lines import LedgerLine
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.layers import (
    Attention,
    CompressedAttention,
    DenseMlp,
    LatentAttention,
    Layer,
    MoeMlp,
)
from sizewell.specs.model import ModelSpec

EXPERT_CHUNK_TOKENS = 32768
"""Routed experts work on at most this many tokens at a time."""
_SPREAD = 0.12


def activation_lines(
    model: ModelSpec, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
) -> tuple[LedgerLine, ...]:
    """Return the activation peak (the larger of sampler and forward pass) and, where kept, the expert workspaces."""
    forward = _forward(model, cut, settings, engine)
    sampler = _sampler(model, settings, engine)
    peak = max(forward, sampler, key=lambda line: line.bytes)
    workspace = _expert_workspace(model, cut, settings, engine)
    return (peak, *((workspace,) if workspace.bytes else ()))


def _estimate(line: LedgerLine) -> LedgerLine:
    return LedgerLine(
        name=line.name, bytes=line.bytes, formula=line.formula, inputs=line.inputs, provenance="derived",
        low_bytes=line.bytes * (1 - _SPREAD), high_bytes=line.bytes * (1 + _SPREAD),
    )  # fmt: skip


def _sampler(model: ModelSpec, settings: EngineSettings, engine: EngineSpec) -> LedgerLine:
    rows = min(settings.max_num_seqs, settings.max_num_batched_tokens)
    logits = engine.sampler_copies * rows * model.vocabulary * 4
    hidden = engine.hidden_copies * settings.max_num_batched_tokens * model.hidden * 2
    return _estimate(
        LedgerLine(
            name="activation peak: sampler",
            bytes=logits + hidden,
            formula="{copies} × {rows} rows × {vocabulary} logits × 4 B + {kept} × {tokens} tokens × {hidden} × 2 B",
            inputs=(
                ("copies", engine.sampler_copies), ("rows", rows), ("vocabulary", model.vocabulary),
                ("kept", engine.hidden_copies), ("tokens", settings.max_num_batched_tokens), ("hidden", model.hidden),
            ),
        )
    )  # fmt: skip


def _forward(model: ModelSpec, cut: Parallelism, settings: EngineSettings, engine: EngineSpec) -> LedgerLine:
    tokens = settings.max_num_batched_tokens
    # An all-reduce needs its input and output at once.
    copies = engine.forward_copies + (2 if cut.tp > 1 else 0)
    widest = max((_widest(layer, model.hidden, cut, tokens) for layer in model.layer_counts), default=0.0)
    return _estimate(
        LedgerLine(
            name="activation peak: forward pass",
            bytes=tokens * 2 * (copies * model.hidden + widest),
            formula="{tokens} tokens × 2 B × ({copies} × {hidden} hidden + {widest} of the widest layer)",
            inputs=(("tokens", tokens), ("copies", copies), ("hidden", model.hidden), ("widest", widest)),
        )
    )


def _widest(layer: Layer, hidden: int, cut: Parallelism, tokens: int) -> float:
    """Return the elements per token and rank alive inside the layer's widest operator."""
    return max(_mixer_elements(layer, cut.tp), _mlp_elements(layer, hidden, cut, tokens))


def _mixer_elements(layer: Layer, tp: int) -> float:
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        queries = mixer.heads // tp * mixer.head_dim
        return 2 * queries + mixer.rank_kv_elements_per_token(tp)
    if isinstance(mixer, LatentAttention):
        query = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
        return mixer.heads // tp * 2 * (query + mixer.v_head_dim)
    if isinstance(mixer, CompressedAttention):
        return mixer.heads / tp * 2 * mixer.head_dim
    return 0.0


def _mlp_elements(layer: Layer, hidden: int, cut: Parallelism, tokens: int) -> float:
    mlp = layer.mlp
    if isinstance(mlp, DenseMlp):
        return (3 if mlp.gated else 2) * mlp.intermediate / cut.tp
    if isinstance(mlp, MoeMlp):
        shared = 3 * mlp.shared_intermediate / cut.tp
        return shared + expert_elements(mlp, hidden, cut) * min(tokens, EXPERT_CHUNK_TOKENS) / max(tokens, 1)
    return 0.0


def expert_elements(mlp: MoeMlp, hidden: int, cut: Parallelism) -> float:
    """Return buffer elements per token of the routed experts: top_k rows of the wider of input and output, and of
    the activation between them."""
    inner = mlp.intermediate if cut.ep > 1 else mlp.intermediate / (cut.tp * cut.dp)
    return mlp.top_k * (max((2 if mlp.gated else 1) * inner, hidden) + inner)


def _expert_workspace(model: ModelSpec, cut: Parallelism, settings: EngineSettings, engine: EngineSpec) -> LedgerLine:
    moe = [layer.mlp for layer in model.layer_counts if isinstance(layer.mlp, MoeMlp)]
    tokens = min(settings.max_num_batched_tokens, EXPERT_CHUNK_TOKENS)
    elements = max((expert_elements(mlp, model.hidden, cut) for mlp in moe), default=0.0)
    return _estimate(
        LedgerLine(
            name="expert workspaces",
            bytes=engine.expert_workspaces * tokens * elements * 2,
            formula="{copies} × {tokens} tokens × {elements} × 2 B",
            inputs=(("copies", engine.expert_workspaces), ("tokens", tokens), ("elements", elements)),
        )
    )
