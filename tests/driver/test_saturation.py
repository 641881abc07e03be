"""A search finds the knee, or the last concurrency within limits, of servers whose capacity is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sizewell.driver.saturation import Probe, answer, next_concurrency

MOST_PROBES = 8


def _search(capacity: int, limits: bool) -> tuple[int | None, int]:
    """Search a server of one token per second and sequence, up to `capacity` sequences."""
    seen: dict[int, Probe] = {}
    while (level := next_concurrency(seen, limits)) is not None:
        assert level not in seen
        seen[level] = Probe(tokens_per_s=float(min(level, capacity)), held=level <= capacity)
    return answer(seen, limits), len(seen)


@given(st.integers(1, 2000))
def test_the_largest_within_limits_is_found_and_never_above(capacity: int) -> None:
    found, probes = _search(capacity, limits=True)
    assert found is not None
    assert capacity / 1.1 - 1 <= found <= capacity
    assert probes <= MOST_PROBES + capacity.bit_length()


@given(st.integers(1, 2000))
def test_the_knee_is_found(capacity: int) -> None:
    found, _ = _search(capacity, limits=False)
    assert found is not None
    assert 0.9 * capacity <= found <= 1.15 * capacity + 1


def test_no_concurrency_may_hold() -> None:
    seen = {1: Probe(tokens_per_s=1.0, held=False)}
    assert next_concurrency(seen, limits=True) is None
    assert answer(seen, limits=True) is None
