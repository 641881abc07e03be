"""Where a server's throughput ends, or a limit breaks, found in few probes: doubling, then halving the bracket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENOUGH_GAIN = 1.10
"""Throughput a doubling of concurrency must bring to be worth another."""
CLOSE = 1.10
"""Ratio of the ends of a bracket that is narrow enough."""
NEAR_PEAK = 0.95
MOST_CONCURRENCY = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was seen at one concurrency: output tokens per second, and whether every limit held and all was served.

    `spoiled` names the gate for which its numbers mean nothing: it sets no figure, and nothing is tried above it.
    """

    tokens_per_s: float
    held: bool
    spoiled: str = ""


def next_concurrency(seen: Mapping[int, Probe], limits: bool) -> int | None:
    """Return the concurrency to try next; None when it is known.

    With limits: the largest that holds them. Without: the smallest that gives nearly the highest throughput.
    """
    if not seen:
        return 1
    high = max(seen)
    if _goes_on(seen, high, limits) and high < MOST_CONCURRENCY:
        return 2 * high
    low, end = bracket(seen, limits)
    if end is None or end - low <= 1 or end / low <= CLOSE:
        return None
    return round((low * end) ** 0.5) if low * end > (low + 1) ** 2 else low + 1


def bracket(seen: Mapping[int, Probe], limits: bool) -> tuple[int, int | None]:
    """Return the ends of what is still open: with limits the largest good and the next bad concurrency, without the
    largest below the knee and the smallest at it; 0 or None where there is none."""
    if limits:
        good = [level for level, probe in seen.items() if probe.held and not probe.spoiled]
        low = max(good, default=0)
        return low, min((level for level in seen if level > low), default=None)
    speeds = {level: probe.tokens_per_s for level, probe in seen.items() if not probe.spoiled}
    if not speeds:
        return 0, None
    enough = min(level for level, speed in speeds.items() if speed >= NEAR_PEAK * max(speeds.values()))
    return max((level for level in seen if level < enough), default=0), enough


def answer(seen: Mapping[int, Probe], limits: bool) -> int | None:
    """Return the concurrency that was looked for; None where no limit held anywhere."""
    low, end = bracket(seen, limits)
    return (low or None) if limits else end


def unknown_above(seen: Mapping[int, Probe], found: int | None) -> dict[int, str]:
    """Return what was spoiled just above the answer, and by which gate: then it is the least there can be."""
    above = sorted(level for level in seen if level > (found or 0))
    return {level: seen[level].spoiled for level in above[:1] if seen[level].spoiled}


def _goes_on(seen: Mapping[int, Probe], high: int, limits: bool) -> bool:
    if seen[high].spoiled or limits:
        return seen[high].held and not seen[high].spoiled
    below = [level for level in seen if level < high]
    return not below or seen[high].tokens_per_s >= ENOUGH_GAIN * seen[max(below)].tokens_per_s
