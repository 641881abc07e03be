"""The largest load that still holds, found by bracketing: double or halve until it breaks, then halve the gap.

Every load tried is a simulation, so few are: where the edge lies is guessed from how much of the limits the loads seen
so far take, and mostly only the two ends of the bracket around it are tried. What is said of all others follows: below
a load that holds everything holds, above one that breaks everything breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt

from sizewell.simulator.facts import BlockGroup

TOLERANCE = 0.05
"""Ratio above 1 of what breaks to what holds at which the search ends: reruns of one real load differ by more."""

MOST_DOUBLINGS = 12

GUESSES = 6
"""Loads tried where strain says that the edge is; after so many it misleads, and the gap is halved."""

LEAST_POWER = 0.5
"""Strain grows at least so steeply with the load, near where it matters: the time per token of a batch has a part that
does not grow and one in proportion.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The saturation point: `holds` is the largest load seen to hold, `breaks` the smallest seen to break.

    `holds` is 0 where even the lightest load tried breaks; `breaks` is infinite where the heaviest tried still holds.
    """

    holds: float
    breaks: float
    probes: int


def saturation(
    strain: Callable[[float], float], guess: float, *, whole: bool = False, known: Mapping[float, float] | None = None
) -> Bracket:
    """Return the bracket that doubling or halving from `guess` > 0 leads to; loads are counts when `whole`.

    `strain` says how much of its limits a load takes: it holds up to 1, and must not hold again above a load where it
    breaks. Of `known` loads this was said before.
    """
    seen = _Seen(edge=guess)
    for load, taken in (known or {}).items():
        seen.note(load, taken)
    seen.edge, probes = seen.crossing() or guess, 0
    while True:
        ends = _bracket(seen.believed, guess, whole)
        unknown = [load for load in ends if seen.low < load < seen.high]
        if not unknown:
            return Bracket(holds=ends[0], breaks=ends[1], probes=probes)
        asked = min(unknown, key=seen.off)
        seen.note(asked, strain(asked))
        probes += 1
        seen.edge = (seen.crossing() if probes < GUESSES else None) or seen.middle()


@dataclass(slots=True)
class _Seen:
    """What is known so far: everything up to `low` holds, everything from `high` on breaks, in between perhaps up to
    `edge`.
    """

    edge: float
    low: float = 0.0
    high: float = inf
    strains: dict[float, float] = field(default_factory=dict)

    def note(self, load: float, taken: float) -> None:
        """Remember the strain of a load."""
        self.strains[load] = taken
        if taken <= 1:
            self.low = max(self.low, load)
        else:
            self.high = min(self.high, load)

    def believed(self, load: float) -> bool:
        """Return whether a load holds, as far as is known, and else by where the edge seems to be."""
        return load <= self.low or (load < self.high and load <= self.edge)

    def off(self, load: float) -> float:
        """Return how far a load is from where the edge seems to be."""
        return abs(log(load / self.edge))

    def crossing(self) -> float | None:
        """Return where strain is 1 on the power law through the two loads nearest to it; None where none is known."""
        strained = [(load, taken) for load, taken in self.strains.items() if 0 < taken < inf]
        if not strained:
            return None
        (load, taken), *others = sorted(strained, key=lambda one: abs(log(one[1])))
        power = log(others[0][1] / taken) / log(others[0][0] / load) if others else LEAST_POWER
        beyond = min(-log(taken) / max(power, LEAST_POWER), MOST_DOUBLINGS)
        return min(max(load * exp(beyond), self.low), self.high)

    def middle(self) -> float:
        """Return the middle of the gap, or twice or half of what is known where nothing bounds it."""
        if self.low > 0 and self.high < inf:
            return sqrt(self.low * self.high)
        return 2 * self.low if self.low > 0 else self.high / 2


def _bracket(holds: Callable[[float], bool], guess: float, whole: bool) -> tuple[float, float]:
    """Return what holds and what breaks once loads doubled or halved from `guess`, then halved gaps, were tried."""
    load, low, high = _rounded(guess, whole), 0.0, inf
    for _ in range(MOST_DOUBLINGS + 1):
        low, high = (load, high) if holds(load) else (low, load)
        if low > 0 and high < inf:
            break
        load = _rounded(load * 2 if low > 0 else load / 2, whole)
        if load in (low, high):
            break
    while low > 0 and high < inf and not _done(low, high, whole):
        load = _rounded(sqrt(low * high), whole)
        low, high = (load, high) if holds(load) else (low, load)
    return low, high


def _rounded(load: float, whole: bool) -> float:
    """Return the load as it is offered: counts are whole and at least one."""
    return float(max(1, round(load))) if whole else load


def _done(low: float, high: float, whole: bool) -> bool:
    """Return whether nothing is left between what holds and what breaks."""
    return high / low <= 1 + TOLERANCE or (whole and high - low <= 1)


def held_while_decoding(groups: Sequence[BlockGroup], block_tokens: int, context_tokens: float) -> float:
    """Return the blocks of all groups of layers that a sequence of a context holds: windows keep what they see."""
    whole = context_tokens / block_tokens
    spans = {group: group.span_tokens / block_tokens + 1 for group in groups if group.kind in ("window", "chunk")}
    return sum(group.most_blocks if group.kind == "state" else min(whole, spans.get(group, whole)) for group in groups)


def common_blocks(groups: Sequence[BlockGroup], block_tokens: int, prefix_tokens: float) -> int:
    """Return the blocks of a beginning that all sequences have in common: of layers that keep every token."""
    return sum(int(prefix_tokens // block_tokens) for group in groups if group.kind == "full")
