"""A search finds the knee, or the last concurrency within limits, of servers whose capacity is known."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.cli.bench import command
from sizewell.cli.bench_loads import LEAST_FOR
from sizewell.driver.gates import FLOW, Gate, spoiled
from sizewell.driver.saturation import Probe, answer, next_concurrency, unknown_above
from sizewell.planner.demand import LEAST_OVER_MEAN
from sizewell.traffic.workload import Slo

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


@given(st.integers(1, 2000), st.integers(1, 2000), st.booleans())
def test_what_missed_a_gate_sets_no_figure_and_is_not_gone_beyond(capacity: int, client: int, limits: bool) -> None:
    """Above what the client can do every load is faster than any, and nothing is learnt from it."""
    seen: dict[int, Probe] = {}
    while (level := next_concurrency(seen, limits)) is not None:
        assert level not in seen
        why = "client CPU" if level > client else ""
        seen[level] = Probe(
            tokens_per_s=1e9 if why else float(min(level, capacity)), held=level <= capacity, spoiled=why
        )
    found = answer(seen, limits)
    assert found is not None
    assert found <= client
    assert max(seen) <= 2 * client
    assert found >= (min(capacity, client) / 1.1 - 1 if limits else 0.9 * min(capacity, client / 2))
    if client >= 4 * capacity:
        assert not unknown_above(seen, found)
    if 2 * client < capacity:
        assert set(unknown_above(seen, found).values()) == {"client CPU"}


@pytest.mark.parametrize("limits", [False, True])
def test_where_every_load_missed_a_gate_nothing_is_found(limits: bool) -> None:
    seen = {1: Probe(tokens_per_s=1.0, held=True, spoiled="client CPU")}
    assert next_concurrency(seen, limits) is None
    assert answer(seen, limits) is None
    assert unknown_above(seen, None) == {1: "client CPU"}


def test_bunched_tokens_spoil_times_and_no_throughput() -> None:
    found = [Gate(name=FLOW, held=False, value=0.5, limit=0.2, says="")]
    assert (spoiled(found, times=True), spoiled(found, times=False)) == (FLOW, "")


def test_no_concurrency_may_hold() -> None:
    seen = {1: Probe(tokens_per_s=1.0, held=False)}
    assert next_concurrency(seen, limits=True) is None
    assert answer(seen, limits=True) is None


def test_a_statistic_that_may_be_bound_is_known_wherever_one_is() -> None:
    known = set(get_args(get_type_hints(Slo)["statistic"]))
    (flag,) = (param for param in command.params if param.name == "statistic")
    assert known == set(flag.type.choices) == set(LEAST_FOR) == set(LEAST_OVER_MEAN)  # type: ignore[attr-defined]
