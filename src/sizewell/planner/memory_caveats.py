"""Why a logged figure may not be what the stated settings give: what the log leaves open or contradicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sizewell.costs.ledger import GIB
from sizewell.costs.lines import LedgerLine
from sizewell.costs.rank_memory import RankMemory
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.memory_row import MemoryRow

_ACTIVATION_GAP_BYTES = 0.5 * GIB
_SMALLEST_ROOM_BYTES = 0.1 * GIB
"""Share, weights, activations and the rest are each printed to a hundredth: a smaller difference says little."""


def caveats(
    rows: Sequence[MemoryRow], memory: RankMemory, gpu: GpuSpec | None, total_bytes: float | None, sampler: str = ""
) -> str:
    """Return everything that keeps a capacity figure of this start-up from following from its settings, or nothing.

    `sampler` explains another activation peak by the sampler that ran; without it a batch limit is held to differ.
    """
    peak = sampler or _other_limits(rows, memory)
    return "; ".join(filter(None, (*_unstated(rows, memory, gpu), peak, *_contradicted(rows, memory, total_bytes))))


def _unstated(rows: Sequence[MemoryRow], memory: RankMemory, gpu: GpuSpec | None) -> Iterable[str]:
    if rows[0].memory_fraction is None:
        yield f"memory fraction not stated, {memory.settings.memory_fraction:g} assumed"
    if memory.engine.note:
        yield memory.engine.note
    if gpu is not None and gpu.kind == "unified":
        yield "unified memory: the engine sizes from what the system has free, which the log does not state"
    if gpu is not None and gpu.vendor == "amd":
        yield "AMD: what lies beside weights and cache is not known"
    if memory.engine.profile == "sglang" and memory.compressed:
        yield "SGLang's pools for compressed caches are not known"


def _other_limits(rows: Sequence[MemoryRow], memory: RankMemory) -> str:
    logged = next((row.value * GIB for row in rows if row.metric == "activation_peak_gib"), None)
    peak = next((line for line in memory.overhead if line.name.startswith("activation")), None)
    if logged is None or peak is None or abs(logged - peak.bytes) <= _ACTIVATION_GAP_BYTES:
        return ""
    stated = rows[0].max_num_batched_tokens is not None and any(row.sequences for row in rows)
    limits = "stated batch limits" if stated else "assumed batch limits"
    ending = "others were in force" if stated else "limits were set and are not stated"
    peaks = f"the log's activation peak of {logged / GIB:.2f} GiB is not that of the {limits} "
    return f"{peaks}({peak.bytes / GIB:.2f}) but {_implied_limit(peak, logged)}: {ending}"


def _contradicted(rows: Sequence[MemoryRow], memory: RankMemory, total_bytes: float | None) -> Iterable[str]:
    room = next((row.value * GIB for row in rows if row.metric == "kv_gib"), None)
    if room is None or total_bytes is None or memory.engine.profile == "sglang":
        return
    share, weights = memory.budget_bytes(total_bytes), memory.stages[0].weight_bytes
    if room > share - weights:
        told = "assumed" if rows[0].memory_fraction is None else "stated"
        sizes = f"weights of {weights / GIB:.2f} GiB and the logged cache of {room / GIB:.2f}"
        yield f"{sizes} exceed the {told} share of {share / GIB:.2f} by {(room + weights - share) / GIB:.2f}"
    if room < _SMALLEST_ROOM_BYTES:
        yield f"a cache of {room / GIB:.2f} GiB is as small as the rounding of the figures it is left over from"


def _implied_limit(peak: LedgerLine, logged_bytes: float) -> str:
    """Return the batch limit under which the rule gives the logged peak: sequences to sample, else tokens at once."""
    inputs = dict(peak.inputs)
    if "rows" not in inputs:
        return f"that of {float(inputs['tokens']) * logged_bytes / peak.bytes:,.0f} tokens at once"
    row = float(inputs["copies"]) * float(inputs["vocabulary"]) * 4
    rows = float(inputs["rows"]) - (peak.bytes - logged_bytes) / row
    return f"that of {rows:,.0f} sequences" if rows > 0 else "less than its tokens alone take"


def weight_caveat(row: MemoryRow, memory: RankMemory, draft_bytes: float, checkpoint_bytes: float) -> str:
    """Return why logged weights may not be those of the named checkpoint under the stated cut, or nothing.

    `draft_bytes` is what a draft layer would add to a rank, `checkpoint_bytes` the whole checkpoint as served.
    """
    logged, stage = row.value * GIB, memory.stages[0].weight_bytes
    if logged * row.cut.pp * row.cut.tp < 0.9 * checkpoint_bytes and not row.offload_bytes:
        return f"{row.cut} ranks of this size cannot hold the checkpoint's {checkpoint_bytes / GIB:.0f} GiB"
    if abs(logged - stage - draft_bytes) < 0.002 * logged:
        return "equals the weights with the draft layer: speculation was on and is not stated"
    return ""
