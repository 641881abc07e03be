"""The engine's own start-up figures beside those of the plan's memory ledger, line by line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sizewell.costs.ledger import GIB, MemoryLedger
from sizewell.planner.logged_rank import logged_weight_bytes
from sizewell.planner.printed_capacity import printed_concurrency, printed_tokens
from sizewell.specs.engine import EngineSpec
from sizewell.specs.figure import Figure
from sizewell.specs.standing import LogFacts

Unit = Literal["bytes", "tokens", "sequences"]
DIFFERS_FRACTION = 0.01
"""What a line may be off without a word: what logs round and boards differ by."""
_ALIKE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupLine:
    """A figure as the engine logged it and as the plan has it with its interval; `reason` where they differ."""

    name: str
    unit: Unit
    said: float
    planned: float
    low: float
    high: float
    reason: str = ""

    @property
    def difference_fraction(self) -> float | None:
        """(said − planned) / planned; None where nothing was planned."""
        return (self.said - self.planned) / self.planned if self.planned else None

    @property
    def differs(self) -> bool:
        """Whether the figure is off by more than a hundredth and outside the plan's interval."""
        off = self.difference_fraction
        return (off is None and self.said > 0) or (
            off is not None and abs(off) > DIFFERS_FRACTION and not self.low <= self.said <= self.high
        )

    @property
    def text(self) -> str:
        """The line in words: `KV tokens 412,000, planned 430,112 (−4.2 %)`, and why."""
        off = self.difference_fraction
        share = "" if off is None else f" ({'−' if off < 0 else '+'}{abs(off):.1%})".replace("%", " %")
        why = f": {self.reason}" if self.reason else ""
        return f"{self.name} {self._shown(self.said)}, planned {self._shown(self.planned)}{share}{why}"

    def _shown(self, value: float) -> str:
        if self.unit == "bytes":
            return f"{value / GIB:.2f} GiB"
        return f"{value:,.0f}" if self.unit == "tokens" else f"{value:.2f}×"


def against_ledger(log: LogFacts, ledger: MemoryLedger, engine: EngineSpec) -> tuple[StartupLine, ...]:
    """Return each figure the engine logged beside the plan's; those that `differs` carry the likely reason.

    `engine` are the rules of the planned release: releases count different things as the same line.
    """
    length, layout = ledger.settings.max_model_len_tokens, ledger.layout
    weights = Figure.exact(logged_weight_bytes(ledger.lines, engine))
    room = ledger.kv_figure
    tokens = _scaled(room, printed_tokens(layout, ledger.kv_blocks, length, engine))
    concurrency = _scaled(room, printed_concurrency(layout, ledger.kv_blocks, length))
    told = (
        _line("weights", "bytes", log.weights_bytes, weights, _heavier(log.weights_bytes, weights.value)),
        _line("KV cache", "bytes", log.kv_cache_bytes, room, _room_reason(log, room.value, weights.value)),
        _line("KV tokens", "tokens", log.kv_cache_tokens, tokens, _tokens_reason(log, room.value, tokens.value)),
        _line("concurrency", "sequences", log.max_concurrency, concurrency, _length_reason(log, length)),
        _line("graphs", "bytes", log.graphs_bytes, _graphs(ledger), "graphs of other batch sizes than planned"),
    )
    return tuple(line for line in told if line is not None)


def _line(name: str, unit: Unit, said: float | None, planned: Figure, reason: str) -> StartupLine | None:
    if said is None:
        return None
    line = StartupLine(name=name, unit=unit, said=said, planned=planned.value, low=planned.low, high=planned.high)
    return replace(line, reason=reason) if line.differs else line


def _scaled(room: Figure, value: float) -> Figure:
    """Return a capacity with the interval of the room it follows from."""
    if room.value <= 0:
        return Figure.exact(value)
    low, high = (value * max(0.0, size) / room.value for size in (room.low, room.high))
    return Figure(value=value, low=low, high=high, provenance=room.provenance)


def _graphs(ledger: MemoryLedger) -> Figure:
    lines = [line for line in ledger.lines if line.name.startswith("graphs")]
    low, value, high = (sum(getattr(line, end) for line in lines) for end in ("low", "bytes", "high"))
    return Figure(value=value, low=low, high=high, provenance="derived")


def _heavier(said: float | None, planned: float) -> str:
    times = said / planned if said and planned else 1.0
    if abs(times - round(times)) < _ALIKE and round(times) >= 2:
        return f"{round(times)} times as much: a wider format than planned, or not split over as many GPUs"
    if times and abs(1 / times - round(1 / times)) < _ALIKE and round(1 / times) >= 2:
        return f"a {round(1 / times)}th: a narrower format than planned, or split over more GPUs"
    if times > 1:
        return "copies or padding kept after loading, or a draft model that was not planned"
    return "layers or experts the plan counts are not loaded on this rank"


def _room_reason(log: LogFacts, planned: float, planned_weights: float) -> str:
    less = planned - (log.kv_cache_bytes or 0.0)
    heavier = (log.weights_bytes or planned_weights) - planned_weights
    if less and abs(less - heavier) < 0.3 * abs(less):
        return "what the weights take more or less is missing or left here"
    if less > 0:
        return "less was free: a higher activation peak, another process on the GPU, or a smaller share of its memory"
    return "more was free: a lower activation peak, or a larger share of the GPU's memory than planned"


def _tokens_reason(log: LogFacts, planned_bytes: float, planned_tokens: float) -> str:
    if not log.kv_cache_bytes or not log.kv_cache_tokens or not planned_tokens or planned_bytes <= 0:
        return "the room for the cache differs"
    if log.state_bytes:
        share = log.state_bytes / log.kv_cache_bytes
        return f"{share:.0%} of the room is set aside for recurrent states, however many run".replace("%", " %", 1)
    times = (log.kv_cache_bytes / log.kv_cache_tokens) / (planned_bytes / planned_tokens)
    if abs(times - 1) <= DIFFERS_FRACTION:
        return "follows from the room for the cache"
    if abs(times - 2) < _ALIKE or abs(times - 0.5) < _ALIKE / 2:
        return f"a token takes {'twice' if times > 1 else 'half'} the planned bytes: another KV format than planned"
    return f"a token takes {times:.2f} times the planned bytes: another block size, KV format or split of the heads"


def _length_reason(log: LogFacts, planned_tokens: int) -> str:
    if not log.kv_cache_tokens or not log.max_concurrency:
        return "follows from the room for the cache"
    length = log.kv_cache_tokens / log.max_concurrency
    if abs(length / planned_tokens - 1) > DIFFERS_FRACTION:
        return f"counted at about {length:,.0f} tokens a request, planned at {planned_tokens:,}"
    return "follows from the tokens"
