"""What one rank's profile run peaks at beside weights and cache: forward activations or sampler.

A rank sees all tokens of its batch whatever the tensor-parallel size, so the peak is counted per GPU. Logits are
gathered whole on every rank, so the sampler is never divided. Derivation: docs/cost-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizewell.costs.encoder_peak import encoder_line
from sizewell.costs.expert_workspaces import (
    EXPERT_CHUNK_TOKENS,
    expert_hidden,
    grouped_rows,
    kept_workspace_bytes,
    most_workspace_bytes,
)
from sizewell.costs.lines import Input, LedgerLine
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
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
from sizewell.specs.weight_format import stored_encoding

_SPREAD = 0.2
"""Bounds of a peak: logs whose limits are stated lie within a tenth, others of the same release up to a fifth away."""


def activation_line(
    model: ModelSpec, formats: Formats, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
) -> LedgerLine:
    """Return the activation peak of one rank: the largest of sampler, forward pass and image encoder."""
    tokens = settings.max_num_batched_tokens
    workspace = kept_workspace_bytes(model, formats, cut, tokens, engine)
    encoder = encoder_line(model, cut, tokens, engine)
    others = [forward_line(model, formats, cut, settings, engine)]
    if encoder:
        others.append(_estimated(encoder.name, encoder.bytes, encoder.formula, encoder.inputs))
    lines = [*others, _sampler(model, settings, engine, engine.sampler_copies, workspace)]
    peak = max(lines, key=lambda line: line.bytes)
    low, high = peak.low, peak.high
    if engine.sort_free_copies:
        installed = _sampler(model, settings, engine, engine.sort_free_copies, workspace)
        low = min(low, max([*others, installed], key=lambda line: line.bytes).low)
    # Some releases and back ends keep the workspaces of 8-bit experts beside the sampler, others do not.
    if engine.grouped_fp8_experts and not workspace:
        high += most_workspace_bytes(model, formats, cut, tokens)
    if (low, high) == (peak.low, peak.high):
        return peak
    return replace(peak, low_bytes=low, high_bytes=high)


def _estimated(name: str, size: float, formula: str, inputs: tuple[Input, ...]) -> LedgerLine:
    return LedgerLine(
        name=name, bytes=size, formula=formula, inputs=inputs, provenance="derived",
        low_bytes=size * (1 - _SPREAD), high_bytes=size * (1 + _SPREAD),
    )  # fmt: skip


def _sampler(
    model: ModelSpec, settings: EngineSettings, engine: EngineSpec, copies: float, workspace: float
) -> LedgerLine:
    tokens = settings.max_num_batched_tokens
    rows = tokens if engine.sampler_rows == "tokens" else min(settings.max_num_seqs, tokens)
    if model.vision and engine.profile == "v0":
        # The first engine profiles as many sequences as images fill the batch: next to none.
        rows = 1
    logits = copies * rows * model.vocabulary * 4
    kept = min(rows, engine.sampler_buffer_rows) * model.vocabulary * 4.0
    kept += workspace + encoder_bytes(model, tokens, engine)
    hidden = engine.hidden_copies * tokens * model.hidden * 2
    return _estimated(
        "activation peak: sampler",
        logits + hidden + kept,
        "{copies} × {rows} rows × {vocabulary} logits × 4 B + {kept} × {tokens} tokens × {hidden} × 2 B"
        " + {workspace} B of workspace",
        (
            ("copies", copies), ("rows", rows), ("vocabulary", model.vocabulary),
            ("kept", engine.hidden_copies), ("tokens", tokens), ("hidden", model.hidden),
            ("workspace", kept),
        ),
    )  # fmt: skip


def encoder_bytes(model: ModelSpec, tokens: int, engine: EngineSpec) -> float:
    """Return the encoder outputs a profile run keeps while the language model runs: those of one full budget.

    0.11 and 0.12 widen the output of each image to the whole budget.
    """
    if not model.vision:
        return 0.0
    budget = max(tokens, model.encoder_item_tokens)
    widened = engine.widens_encoder_outputs and model.encoder_item_tokens
    copies = budget // model.encoder_item_tokens if widened else engine.encoder_copies
    return float(copies * budget * model.encoder_outputs * model.hidden * 2)


def forward_line(
    model: ModelSpec, formats: Formats, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
) -> LedgerLine:
    """Return the peak of the forward pass alone: what a rank that does not sample takes."""
    tokens = settings.max_num_batched_tokens
    # An all-reduce needs its input and output at once.
    copies = engine.forward_copies + (2 if cut.tp > 1 else 0)
    grouped = _grouped_fp8(model, formats, engine)
    encoded = encoder_bytes(model, tokens, engine)
    rule = _Buffers(
        tokens=tokens, cut=cut, shared=engine.experts_share_buffers, grouped_fp8=grouped,
        copied=_copies_inputs(model, formats, engine),
    )  # fmt: skip
    widest = max(
        (_widest(layer, expert_hidden(layer, model.hidden), rule) for layer in model.layer_counts), default=0.0
    )
    return _estimated(
        "activation peak: forward pass",
        tokens * 2 * (copies * model.hidden + widest) + encoded,
        "{tokens} tokens × 2 B × ({copies} × {hidden} hidden + {widest} of the widest layer)"
        " + {encoded} B of encoder outputs",
        (
            ("tokens", tokens), ("copies", copies), ("hidden", model.hidden), ("widest", widest),
            ("encoded", encoded),
        ),
    )  # fmt: skip


def _grouped_fp8(model: ModelSpec, formats: Formats, engine: EngineSpec) -> bool:
    name = model.weight_format if formats.weight == "native" else formats.weight
    return engine.grouped_fp8_experts and name.startswith("fp8-block")


def _copies_inputs(model: ModelSpec, formats: Formats, engine: EngineSpec) -> bool:
    """Whether the kernel of grouped integer weights takes a second buffer for its input (Marlin's `a_tmp`).

    Compiled graphs have let the wider buffers go by then, so that only the first engine's peak grows.
    """
    matrix = next((t for la in model.layer_counts for t in la.tensors if t.role == "mlp" and t.is_matrix), None)
    if engine.profile != "v0" or not engine.marlin_copies_inputs or matrix is None:
        return False
    return stored_encoding(matrix, model, formats.weight).name.startswith(("int4-g", "int8-g"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Buffers:
    """How the engine lays out a layer's buffers for `tokens` tokens."""

    tokens: int
    cut: Parallelism
    shared: bool
    grouped_fp8: bool
    copied: bool


def _widest(layer: Layer, hidden: int, rule: _Buffers) -> float:
    """Return the 16-bit elements per token and rank alive inside the layer's widest operator."""
    return max(_mixer_elements(layer, rule.cut.tp), _mlp_elements(layer, hidden, rule))


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


def _mlp_elements(layer: Layer, hidden: int, rule: _Buffers) -> float:
    mlp = layer.mlp
    if isinstance(mlp, DenseMlp):
        return ((3 if mlp.gated else 2) + rule.copied) * mlp.intermediate / rule.cut.tp
    if isinstance(mlp, MoeMlp):
        always = 3 * mlp.shared_intermediate / rule.cut.tp
        if rule.grouped_fp8:
            return always + _grouped_elements(mlp, hidden, rule)
        routed = expert_elements(mlp, hidden, rule.cut, shared=rule.shared)
        return always + routed * min(rule.tokens, EXPERT_CHUNK_TOKENS) / max(rule.tokens, 1)
    return 0.0


def _grouped_elements(mlp: MoeMlp, hidden: int, rule: _Buffers) -> float:
    """Buffers of a grouped fp8 product: rows are sorted by expert and each expert's are padded to a tile.

    Two 16-bit workspaces and the fp8 input are as wide as the hidden state (vllm DeepGemmExperts).
    """
    return 2.5 * grouped_rows(mlp, rule.cut, rule.tokens) * hidden / max(rule.tokens, 1)


def expert_elements(mlp: MoeMlp, hidden: int, cut: Parallelism, *, shared: bool = True) -> float:
    """Return buffer elements per token of the routed experts: top_k rows of gate and up, activation, and output.

    Where buffers are `shared` the output reuses the first one.
    """
    inner = mlp.intermediate if cut.ep > 1 else mlp.intermediate / (cut.tp * cut.dp)
    first = (2 if mlp.gated else 1) * inner
    return mlp.top_k * (inner + (max(first, hidden) if shared else first + hidden))
