"""Requests refuse what cannot be offered, and a beginning of them is whole in itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import GapCounts

THREE = Requests.of([0.0, 1.0, 2.5], [10, 20, 30], 5, [0, 7, 0])


def _with(**columns: Any) -> Requests:
    return replace(THREE, **{name: np.asarray(values) for name, values in columns.items()})


def test_plain_requests_share_nothing() -> None:
    assert len(THREE) == 3
    assert THREE.output_tokens.tolist() == [5, 12, 5]
    assert THREE.shared_tokens.tolist() == [0, 0, 0]
    assert THREE.session.tolist() == [0, 1, 2]


def test_segments_cover_the_beginning_of_a_prompt() -> None:
    shared = _with(segment_start=[0, 1, 3, 3], segment_id=[4, 4, 5], segment_tokens=[8, 8, 12])
    assert shared.shared_tokens.tolist() == [8, 20, 0]
    two = shared.first(2)
    assert two.segment_id.tolist() == [4, 4, 5]
    assert two.segment_start.tolist() == [0, 1, 3]
    assert len(shared.first(99)) == 3


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"arrival_s": [0.0, 3.0, 2.5]}, "request 2 arrives at 2.5 s, before the one above it"),
        ({"arrival_s": [0.0, float("nan"), 2.5]}, "request 1 arrives at nan s"),
        ({"arrival_s": [-1.0, 1.0, 2.5]}, "request 0 arrives at -1.0 s"),
        ({"input_tokens": [10, 0, 30]}, "request 1 has 0 input tokens"),
        ({"answer_tokens": [5, -5, 5]}, "request 1 has -5 answer tokens"),
        ({"answer_tokens": [0, 0, 5]}, "request 0 generates 0 tokens"),
        ({"input_tokens": [10, 20, 10**9]}, "request 2 has 1000000000 input tokens"),
        ({"after": [-1, 1, -1]}, "request 1 waits for request 1: name an earlier row"),
        ({"after": [-1, -2, -1]}, "request 1 waits for request -2"),
        ({"session": [1, 2]}, "session has shape (2,)"),
        ({"segment_start": [0, 0, 0]}, "segment_start must rise"),
        ({"segment_start": [0, 1, 1, 1], "segment_id": [1], "segment_tokens": [0]}, "less than one token"),
        ({"segment_start": [0, 1, 1, 1], "segment_id": [1], "segment_tokens": [11]}, "request 0 names 11 tokens"),
    ],
)
def test_contradictions_are_named(columns: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInputError) as error:
        _with(**columns)
    assert expected in str(error.value)


def test_a_later_turn_may_come_sooner_than_its_neighbours() -> None:
    assert _with(arrival_s=[5.0, 1.0, 5.0], after=[-1, 0, -1]).arrival_s.tolist() == [5.0, 1.0, 5.0]


@pytest.mark.parametrize("tokens", [1.5, float("nan"), float("inf")])
def test_fractions_are_no_token_counts(tokens: float) -> None:
    with pytest.raises(BadInputError, match="give a whole number"):
        Requests.of([0.0], tokens, 5)


def test_a_closed_loop_holds_at_least_one_request() -> None:
    with pytest.raises(BadInputError, match="concurrency is 0"):
        Requests.of([0.0], 5, 5, concurrency=0)


def test_gaps_are_counted() -> None:
    gaps = GapCounts.of(np.array([0.02, 0.01, 0.02]))
    assert gaps.gap_s.tolist() == [0.01, 0.02]
    assert gaps.count.tolist() == [1, 2]
    for gap, count in ((-0.1, 1), (float("nan"), 1), (0.1, 0)):
        with pytest.raises(BadInputError, match="a gap between tokens"):
            GapCounts(gap_s=np.array([gap]), count=np.array([count]))
