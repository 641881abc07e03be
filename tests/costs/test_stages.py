"""Layers by pipeline stage as engines split them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.costs.stages import PpRemainder, stage_bounds, stage_sizes


@pytest.mark.parametrize(
    ("layers", "stages", "remainder", "expected"),
    [
        (61, 2, "spread", (31, 30)),
        (61, 4, "spread", (15, 15, 16, 15)),
        (62, 4, "spread", (15, 16, 16, 15)),
        (61, 4, "last", (15, 15, 15, 16)),
        (62, 4, "last-r", (15, 15, 16, 16)),
    ],
)
def test_the_remainder_goes_where_the_engine_puts_it(
    layers: int, stages: int, remainder: PpRemainder, expected: tuple[int, ...]
) -> None:
    assert stage_sizes(layers, stages, remainder) == expected


@given(layers=st.integers(1, 200), stages=st.integers(1, 16), rule=st.sampled_from(["spread", "last", "last-r"]))
def test_stages_cover_all_layers_once(layers: int, stages: int, rule: PpRemainder) -> None:
    bounds = stage_bounds(layers, stages, rule)
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == layers
