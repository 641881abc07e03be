"""Published points: every row is answered, no answer beats its floor, and the model earns its keep."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.point_facts import point_facts
from sizewell.catalog.points import read_point_rows
from sizewell.costs.machines import Reached
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_cases import PointCase, point_case
from sizewell.planner.step_table import step_table
from sizewell.planner.validate_points import PointPrediction, predict_point

ROOT = Path(__file__).parents[2]
TABLE = ROOT.parent / "shared" / "data" / "points-dev.csv"
needs_table = pytest.mark.skipif(not TABLE.exists(), reason="the table of measured points is not beside the checkout")


@cache
def rows() -> tuple[PointRow, ...]:
    return read_point_rows(TABLE)


@cache
def scored() -> tuple[tuple[PointCase, tuple[PointPrediction, ...]], ...]:
    efficiencies = read_efficiencies()
    cases = [point_case(row, point_facts(row)) for row in rows()]
    return tuple((case, predict_point(case, efficiencies)) for case in cases)


@cache
def bench() -> ModuleType:
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module("accuracy")
    finally:
        sys.path.remove(str(ROOT / "bench"))


@needs_table
def test_every_row_is_answered_with_an_interval_around_its_value() -> None:
    assert len(rows()) == 2372
    for case, answers in scored():
        assert any(answer.predicted for answer in answers), case.row.point_id
        for answer in answers:
            figure = answer.predicted
            assert answer.reason if figure is None else figure.low <= figure.value <= figure.high


@needs_table
def test_no_prediction_of_a_measured_point_beats_the_floor_of_its_smallest_batch() -> None:
    efficiencies = read_efficiencies()
    for case, answers in scored():
        reached = Reached.of(case.machines, efficiencies, also=case.tags)
        tables = [step_table(pools[-1].work, reached) for pools in case.choices]
        floor = min(float(t.floor_s[0, 0]) / float(t.accepted_tokens[0]) for t in tables)
        for answer in answers:
            if answer.metric in {"tpot_mean_s", "itl_mean_s"} and answer.predicted:
                assert answer.predicted.value >= floor
            if answer.metric == "decode_tokens_per_s" and answer.predicted:
                assert 1 / answer.predicted.value >= floor


@needs_table
def test_token_times_are_clearly_closer_than_a_roofline_of_four_constants() -> None:
    ours: dict[str, list[float]] = defaultdict(list)
    simple: dict[str, list[float]] = defaultdict(list)
    for case, answers in scored():
        for answer in answers:
            if case.row.trust == "drop" or answer.metric not in {"tpot_mean_s", "itl_mean_s"} or not answer.predicted:
                continue
            ours[case.row.dataset].append(abs(answer.predicted.value / answer.measured - 1))
            simple[case.row.dataset].append(abs(bench().four_constants(case) / answer.measured - 1))
    medians = [np.mean([np.median(values) for values in by_set.values()]) for by_set in (ours, simple)]
    assert medians[0] < 0.7 * medians[1]
    assert medians[0] < 0.24


@needs_table
def test_four_fifths_of_single_and_static_rows_lie_within_their_interval() -> None:
    inside = [
        answer.predicted.low <= answer.measured <= answer.predicted.high
        for case, answers in scored()
        for answer in answers
        if case.row.load in {"single", "static_batch"} and case.row.trust != "drop" and answer.predicted
    ]
    assert len(inside) >= 200
    assert np.mean(inside) > 0.75


@needs_table
def test_the_kempner_rows_come_out_flat() -> None:
    """About 9.3 tokens/s a sequence from 8 to 112 sequences, whatever the batch: nothing that grows with it binds."""
    rates = {
        case.row.concurrency: answer.predicted.value / case.row.concurrency
        for case, answers in scored()
        for answer in answers
        if case.row.dataset == "kempner_dsr1" and case.row.eager and answer.predicted and case.row.concurrency
    }
    assert set(rates) == {8, 32, 48, 64, 96, 112}
    assert max(rates.values()) / min(rates.values()) < 1.15
    assert all(0.7 * 9.3 < rate < 1.3 * 9.3 for rate in rates.values())
