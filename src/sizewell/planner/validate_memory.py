"""Predicts every figure of an engine's start-up log from the settings the log states, and says why where it cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sizewell.costs.ledger import GIB, MemoryLedger, ledger_of
from sizewell.costs.lines import LedgerLine
from sizewell.costs.overhead import adapter_line
from sizewell.costs.rank_memory import BASE_LINES, RankMemory, rank_memory
from sizewell.costs.weights import WeightRules, rank_weight_bytes
from sizewell.planner.logged_format import logged_formats
from sizewell.planner.logged_rank import logged_rank, logged_stage_bytes, with_logged_peak
from sizewell.planner.logged_sampler import sampler_caveat, with_logged_sampler
from sizewell.planner.logged_settings import LoggedSetup, logged_gpu_bytes, logged_settings
from sizewell.planner.memory_caveats import caveats, weight_caveat
from sizewell.planner.printed_capacity import printed_concurrency, printed_tokens
from sizewell.specs.deployment import Parallelism
from sizewell.specs.figure import Figure, Provenance, weakest
from sizewell.specs.memory_row import MemoryRow
from sizewell.specs.model import ModelSpec

Basis = Literal["settings", "log", "none"]
"""What a prediction used: the stated settings alone, another figure of the same log, or nothing."""

_CAPACITY = {"kv_gib", "kv_tokens", "gpu_blocks", "max_concurrency_x"}
_OF_ONE_RANK = {"kv_gib", "activation_peak_gib"}
UNSTATED_FRACTION_SPREAD = 0.04
UNSTATED_TOTAL_SPREAD = 0.003
"""Totals of one accelerator differ by this much between boards and drivers."""
_WEIGHT_BAR = 0.01
_OVERHEAD = {
    "activation_peak_gib": ("activation",),
    "non_torch_gib": ("beside PyTorch",),
    "cuda_graph_gib": ("graphs",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPrediction:
    """A logged figure beside its prediction (None with a `reason` where there is none), in the metric's unit."""

    row: MemoryRow
    metric: str
    measured: float
    predicted: float | None
    low: float | None = None
    high: float | None = None
    provenance: Provenance = "exact"
    basis: Basis = "settings"
    reason: str = ""

    @property
    def point_id(self) -> str:
        """Key of the row the figure came from."""
        return self.row.point_id

    @property
    def rounding(self) -> float:
        """Half of the last digit the log prints, in the metric's unit; bytes per token carry theirs in the interval."""
        return self.row.rounding if self.metric == self.row.metric else 0.0

    @property
    def states_settings(self) -> bool:
        """Whether the log states what a capacity follows from: the memory fraction, and nothing that contradicts it."""
        return self.basis == "settings" and self.row.memory_fraction is not None and not self.reason

    @property
    def error_fraction(self) -> float | None:
        """(predicted − measured) / measured; None without a prediction or with nothing measured."""
        if self.predicted is None or not self.measured:
            return None
        return (self.predicted - self.measured) / abs(self.measured)


def predict_log(
    rows: Sequence[MemoryRow], facts: LoggedSetup, *, logged_peak: bool = False
) -> tuple[MemoryPrediction, ...]:
    """Return a prediction or a reason for each row of one start-up, and its bytes per token where two rows give it.

    With `logged_peak` capacities are counted beside the activation peak the log prints: a diagnosis, no prediction.
    """
    facts = with_logged_sampler(rows, facts)
    memory = _rank(rows, facts)
    memory = with_logged_peak(rows, memory) if logged_peak else memory
    total = logged_gpu_bytes(rows[0], facts.gpu)
    if rows[0].free_bytes:
        total = rows[0].free_bytes + memory.base_bytes
    elif total is None and rows[0].left_bytes:
        total = rows[0].left_bytes + logged_stage_bytes(memory) + memory.base_bytes
    printing = logged_rank(rows, memory, facts.model, logged_formats(rows[0], facts.model))
    found = caveats(rows, printing, facts.gpu, total, sampler_caveat(rows, facts))
    caveat = "; ".join(filter(None, (facts.note, found)))
    answers = tuple(_predicted(row, rows, printing if row.metric in _OF_ONE_RANK else memory, total) for row in rows)
    answers = tuple(_explained_weights(a, memory, facts) for a in answers)
    answers = tuple(replace(a, reason=a.reason or caveat) if a.metric in _CAPACITY else a for a in answers)
    return (*answers, *_bytes_per_token(rows, memory))


def _predicted(
    row: MemoryRow, rows: Sequence[MemoryRow], memory: RankMemory, total_bytes: float | None
) -> MemoryPrediction:
    return _predict(row, rows, memory, ledger_of(memory, total_bytes) if total_bytes else None)


def _explained_weights(answer: MemoryPrediction, memory: RankMemory, facts: LoggedSetup) -> MemoryPrediction:
    error = answer.error_fraction
    if answer.metric != "weights_gib_per_gpu" or error is None or abs(error) <= _WEIGHT_BAR:
        return answer
    whole = (
        max(rank_weight_bytes(facts.model, "native", Parallelism()))
        if logged_formats(answer.row, facts.model).weight == "native"
        else 0.0
    )
    reason = facts.note or weight_caveat(answer.row, memory, _draft_bytes(facts.model, answer.row.cut), whole)
    if not reason and facts.gpu is not None and facts.gpu.vendor == "amd":
        reason = "AMD: weight padding is not known"
    return replace(answer, reason=reason)


def _draft_bytes(model: ModelSpec, cut: Parallelism) -> float:
    """Return what the draft layers add to a rank; where the config counts none, one more of the last layer."""
    drafted = replace(model, mtp_layers=model.mtp_layers or model.layers[-1:])
    plain, draft = (max(rank_weight_bytes(drafted, "native", cut, WeightRules(mtp=mtp))) for mtp in (False, True))
    return draft - plain


def unanswered(rows: Iterable[MemoryRow], reason: str) -> tuple[MemoryPrediction, ...]:
    """Return rows nothing can be said about, each with the reason."""
    return tuple(
        MemoryPrediction(row=row, metric=row.metric, measured=row.value, predicted=None, basis="none", reason=reason)
        for row in rows
    )


def _rank(rows: Sequence[MemoryRow], facts: LoggedSetup) -> RankMemory:
    row = rows[0]
    memory = rank_memory(
        facts.model, logged_formats(row, facts.model), row.cut, logged_settings(rows, facts), facts.engine
    )
    if not any("LoRA" in r.notes for r in rows):
        return memory
    return replace(memory, overhead=(*memory.overhead, adapter_line(facts.model, row.cut, adapters=1)))


def _predict(
    row: MemoryRow, rows: Sequence[MemoryRow], memory: RankMemory, found: MemoryLedger | None
) -> MemoryPrediction:
    if row.metric in _CAPACITY:
        return _capacity(row, rows, memory, found)
    if row.metric == "weights_gib_per_gpu":
        return _answer(row, Figure.exact(logged_stage_bytes(memory) / GIB))
    if row.metric == "non_torch_gib" and memory.engine.profile == "sglang":
        return _answer(row, _total([line for line in memory.overhead if line.name in BASE_LINES]))
    if row.metric in _OVERHEAD:
        names = _OVERHEAD[row.metric]
        return _answer(row, _total([line for line in memory.overhead if line.name.startswith(names)]))
    return unanswered([row], f"no prediction for the metric {row.metric}")[0]


def _answer(row: MemoryRow, figure: Figure, basis: Basis = "settings", reason: str = "") -> MemoryPrediction:
    return MemoryPrediction(
        row=row, metric=row.metric, measured=row.value, predicted=figure.value, low=figure.low, high=figure.high,
        provenance=figure.provenance, basis=basis, reason=reason,
    )  # fmt: skip


def _total(lines: Sequence[LedgerLine]) -> Figure:
    return Figure(
        value=sum(line.bytes for line in lines) / GIB,
        low=sum(line.low for line in lines) / GIB,
        high=sum(line.high for line in lines) / GIB,
        provenance=weakest("exact", *(line.provenance for line in lines)),
    )


def _capacity(
    row: MemoryRow, rows: Sequence[MemoryRow], memory: RankMemory, found: MemoryLedger | None
) -> MemoryPrediction:
    if found is not None:
        room = _widened(found.kv_figure, row, found.gpu_bytes)
        low, value, high = (
            _capacity_value(row.metric, memory, size, found.kv_blocks if size == room.value else None)
            for size in (room.low, room.value, room.high)
        )
        return _answer(row, Figure(value=value, low=low, high=high, provenance=room.provenance))
    room_bytes, source = _logged_room(row, rows, memory)
    if room_bytes is None:
        return unanswered([row], "the log states neither the accelerator nor its memory")[0]
    value = _capacity_value(row.metric, memory, room_bytes)
    return _answer(row, Figure.exact(value), "log", f"accelerator not stated: from the log's own {source}")


def _widened(room: Figure, row: MemoryRow, gpu_bytes: float) -> Figure:
    """Widen the room for the cache where the log leaves the memory fraction to a default or prints no total."""
    stated = row.memory_gib is not None or row.free_bytes is not None
    unknown = 0.0 if stated else UNSTATED_TOTAL_SPREAD * gpu_bytes
    if row.memory_fraction is None:
        unknown += UNSTATED_FRACTION_SPREAD * gpu_bytes
    provenance = room.provenance if row.memory_fraction is not None else "assumed"
    return replace(room, low=room.low - unknown, high=room.high + unknown, provenance=provenance)


def _logged_room(row: MemoryRow, rows: Sequence[MemoryRow], memory: RankMemory) -> tuple[float | None, str]:
    """Return the cache bytes that other figures of the same log imply, and which figure said so."""
    others = {r.metric: r.value for r in rows if r is not row}
    if "kv_gib" in others:
        return others["kv_gib"] * GIB, "KV GiB"
    if "kv_tokens" in others and memory.layout.is_uniform:
        return others["kv_tokens"] * memory.layout.bytes_per_token, "tokens"
    return None, ""


def _capacity_value(metric: str, memory: RankMemory, room_bytes: float, blocks: int | None = None) -> float:
    """Return a capacity figure of a rank with `room_bytes` for its cache, or with the blocks all stages share."""
    if metric == "kv_gib":
        return max(0.0, room_bytes) / GIB
    layout, length = memory.layout, memory.settings.max_model_len_tokens
    if blocks is None:
        blocks = max(0, int(room_bytes // layout.bytes_per_block)) if layout.bytes_per_block else 0
    if metric == "gpu_blocks":
        return blocks
    if metric == "max_concurrency_x":
        return printed_concurrency(layout, blocks, length)
    return printed_tokens(layout, blocks, length, memory.engine)


def _bytes_per_token(rows: Sequence[MemoryRow], memory: RankMemory) -> Iterable[MemoryPrediction]:
    """Compare bytes per token with the quotient of a log's GiB and tokens, where every layer caches every token."""
    room = next((row for row in rows if row.metric == "kv_gib"), None)
    tokens = next((row for row in rows if row.metric == "kv_tokens"), None)
    if room is None or tokens is None or not tokens.value or not memory.layout.is_uniform:
        return
    rule = memory.layout.bytes_per_token
    half_digit = 0.005 * GIB / tokens.value
    measured = room.value * GIB / tokens.value
    fewer = measured > rule + 2 * half_digit and rows[0].cut.gpus > 1
    yield MemoryPrediction(
        row=tokens, metric="kv_bytes_per_token", measured=measured, predicted=rule,
        low=rule - half_digit, high=rule + half_digit, basis="log",
        reason="the GiB are one rank's, the tokens the fewest of all ranks" if fewer else "",
    )  # fmt: skip
