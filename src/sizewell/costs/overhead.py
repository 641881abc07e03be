"""What a rank holds beside weights and cache: activations, context, collectives, graphs and the engine's tables."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sizewell.costs.activations import activation_line
from sizewell.costs.lines import LedgerLine, Place
from sizewell.costs.token_pool import request_table_bytes
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.kv_format import resolved_kv_format
from sizewell.specs.layers import LatentAttention
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor

GIB = 2**30
GRAPH_SPREAD = 0.6
"""Bounds of what recorded graphs take."""


def overhead_lines(
    model: ModelSpec, formats: Formats, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
) -> tuple[LedgerLine, ...]:
    """Return the overhead lines of one rank; those the engine does not deduct from its share are placed outside."""
    lines = [activation_line(model, formats, cut, settings, engine)]
    if engine.profile == "sglang":
        # The share is taken before activations exist: what it leaves free must hold them.
        lines = [replace(lines[0], place="outside"), _request_table(settings)]
    lines += [*_graphs(model, cut, settings, engine), *_base(cut.tp, cut.tp * cut.pp * cut.dp, engine)]
    return tuple(line for line in lines if line.bytes)


def gather_lines(
    model: ModelSpec, formats: Formats, settings: EngineSettings, engine: EngineSpec
) -> tuple[LedgerLine, ...]:
    """Return the buffer into which sparse attention gathers 16-bit rows of an fp8 latent cache, allocated at load."""
    mixer = next((la.mixer for la in model.layer_counts if isinstance(la.mixer, LatentAttention)), None)
    packed = resolved_kv_format(formats.kv, model) in {"fp8", "fp8_ds_mla"}
    if mixer is None or mixer.indexer is None or not packed or not engine.sparse_gather_contexts:
        return ()
    contexts, length = engine.sparse_gather_contexts, settings.max_model_len_tokens
    line = LedgerLine(
        name="weights: sparse gather buffer",
        bytes=contexts * length * mixer.latent_elements * 2,
        formula="{contexts} × {length} tokens × {row} × 2 B",
        inputs=(("contexts", contexts), ("length", length), ("row", mixer.latent_elements)),
    )
    return (_spread(line, 0.2),)


def deep_stack_lines(model: ModelSpec, settings: EngineSettings, engine: EngineSpec) -> tuple[LedgerLine, ...]:
    """Return the buffers for encoder rows that join deeper layers: one batch each, allocated at load."""
    if model.encoder_outputs < 2 or engine.profile != "v1":
        return ()
    line = LedgerLine(
        name="weights: deep-stack buffers",
        bytes=(model.encoder_outputs - 1) * settings.max_num_batched_tokens * model.hidden * 2,
        formula="{levels} levels × {tokens} tokens × {hidden} × 2 B",
        inputs=(
            ("levels", model.encoder_outputs - 1),
            ("tokens", settings.max_num_batched_tokens),
            ("hidden", model.hidden),
        ),
    )
    return (line,)


def adapter_line(model: ModelSpec, cut: Parallelism, adapters: int, rank: int = 16) -> LedgerLine:
    """Return the slots of low-rank adapters: two 16-bit factors for each part of each attention and MLP matrix.

    Engines make slots of `rank` 16 unless told otherwise.
    """
    width = sum(
        count * sum(len(t.rows) * t.rank_columns(cut.tp) + t.rank_rows(cut.tp) for t in layer.tensors if _adapted(t))
        for layer, count in model.layer_counts.items()
    )
    return LedgerLine(
        name="adapters",
        bytes=adapters * rank * width / cut.pp * 2,
        formula="{adapters} adapters × rank {rank} × {width} inputs and outputs × 2 B",
        inputs=(("adapters", adapters), ("rank", rank), ("width", width / cut.pp)),
    )


def _adapted(tensor: Tensor) -> bool:
    return tensor.is_matrix and tensor.role in {"attention", "mlp", "shared-experts"}


def _request_table(settings: EngineSettings) -> LedgerLine:
    return LedgerLine(
        name="request table",
        bytes=request_table_bytes(settings.max_num_seqs, settings.max_model_len_tokens),
        formula="{requests} requests × ({context} + 4) × 4 B",
        inputs=(("requests", settings.max_num_seqs), ("context", settings.max_model_len_tokens)),
        place="outside",
    )


def _graphs(model: ModelSpec, cut: Parallelism, settings: EngineSettings, engine: EngineSpec) -> tuple[LedgerLine, ...]:
    if settings.enforce_eager:
        return ()
    layers = len(model.layers) / cut.pp
    each = engine.graph_bytes_per_moe_layer if model.is_moe else engine.graph_bytes_per_layer
    sizes = engine.captured_sizes(settings.max_num_seqs, settings.max_num_batched_tokens)
    most = engine.captured_sizes(engine.capture_limit, engine.capture_limit)
    size = engine.graph_bytes + layers * each * sizes / most
    line = LedgerLine(
        name="graphs",
        bytes=size,
        formula="{fixed} B + {layers} layers × {each} B × {sizes} / {most} batch sizes",
        inputs=(
            ("fixed", engine.graph_bytes),
            ("layers", layers),
            ("each", each),
            ("sizes", sizes),
            ("most", most),
        ),
        provenance="calibrated",
        place="inside" if engine.graphs_in_budget else "outside",
        low_bytes=size * (1 - GRAPH_SPREAD),
        high_bytes=size * (1 + GRAPH_SPREAD),
    )
    return (line,)


@lru_cache(maxsize=256)
def _base(tp: int, ranks: int, engine: EngineSpec) -> tuple[LedgerLine, ...]:
    """Context, collectives and what the engine finds beside PyTorch's own memory, `tp` of all `ranks` in a group."""
    several = ranks > 1
    shared = engine.non_torch_bytes_tp + tp * engine.non_torch_bytes_per_rank
    beside = shared if several else engine.non_torch_bytes_tp1
    # Logs of one release differ by what the kernels of a card and its libraries load: a tenth of a GiB at least.
    lines = [_spread(_given("beside PyTorch", beside, engine, "inside"), max(0.3, 0.1 * GIB / max(beside, 1.0)))]
    if engine.context_in_baseline:
        collectives = engine.collective_bytes if several else 0.0
        lines.append(_spread(_given("context", engine.context_bytes, engine, "outside"), 0.3))
        lines.append(_spread(_given("collectives", collectives, engine, "outside"), 0.5))
    return tuple(lines)


def _given(name: str, size: float, engine: EngineSpec, place: Place) -> LedgerLine:
    source = f"fitted for {engine.name} {engine.era}"
    return LedgerLine(name=name, bytes=size, formula="{source}", inputs=(("source", source),), place=place)


def _spread(line: LedgerLine, fraction: float) -> LedgerLine:
    return replace(
        line,
        provenance="calibrated",
        low_bytes=max(0.0, line.bytes * (1 - fraction)),
        high_bytes=line.bytes * (1 + fraction),
    )
