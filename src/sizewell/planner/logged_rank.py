"""Which rank of a replica a start-up log speaks of, and what that rank holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sizewell.costs.activations import forward_line
from sizewell.costs.ledger import GIB
from sizewell.costs.lines import LedgerLine
from sizewell.costs.rank_memory import RankMemory
from sizewell.specs.deployment import Formats
from sizewell.specs.engine import EngineSpec
from sizewell.specs.memory_row import MemoryRow
from sizewell.specs.model import ModelSpec


def logged_stage_bytes(memory: RankMemory) -> float:
    """Return the weights of the rank whose lines reach a log: the driver's node holds the first stage."""
    return logged_weight_bytes((*memory.stages[0].weights, *memory.overhead), memory.engine)


def logged_weight_bytes(lines: Iterable[LedgerLine], engine: EngineSpec) -> float:
    """Return what an engine calls its weights, of the lines of a rank."""
    # Adapters are loaded with the weights; SGLang prints how much free memory went down, more than the tensors.
    counted = ("adapters", "beside PyTorch") if engine.profile == "sglang" else ("adapters",)
    return sum(line.bytes for line in lines if line.name.startswith("weights: ") or line.name in counted)


def logged_rank(rows: Sequence[MemoryRow], memory: RankMemory, model: ModelSpec, formats: Formats) -> RankMemory:
    """Return the memory of the rank that printed a log's own lines; blocks and tokens are the fewest of all ranks.

    vLLM's first engine samples on the first rank alone. Every rank prints what it found: a logged peak nearer to the
    forward pass than to the sampler is another rank's.
    """
    logged = next((row.value * GIB for row in rows if row.metric == "activation_peak_gib"), None)
    if logged is None or memory.engine.profile != "v0" or memory.cut.tp == 1:
        return memory
    forward = forward_line(model, formats, memory.cut, memory.settings, memory.engine)
    peak = next(line for line in memory.overhead if line.name.startswith("activation"))
    if abs(logged - forward.bytes) >= abs(logged - peak.bytes):
        return memory
    return replace(memory, overhead=tuple(forward if line is peak else line for line in memory.overhead))


def with_logged_peak(rows: Sequence[MemoryRow], memory: RankMemory) -> RankMemory:
    """Return the memory with the activation peak the log prints in place of the derived one: not a prediction.

    It tells a capacity that misses because its batch limits were not those of the start-up from one nothing explains.
    """
    logged = next((row.value * GIB for row in rows if row.metric == "activation_peak_gib"), None)
    if logged is None:
        return memory
    overhead = tuple(
        LedgerLine(name=line.name, bytes=logged) if line.name.startswith("activation") else line
        for line in memory.overhead
    )
    return replace(memory, overhead=overhead)
