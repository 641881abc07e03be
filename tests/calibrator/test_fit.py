"""Fitting: exact where predictions are log-linear, robust against wild points, shrunk where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.calibrator.beliefs import Belief, Floats, factor_arrays, revised
from sizewell.calibrator.evidence import answers
from sizewell.calibrator.fit import Evidence, determined, left_out, step
from sizewell.specs.calibration import Efficiencies, Factor
from sizewell.specs.errors import BadInputError

REFERENCE = Efficiencies(
    name="test",
    factors={
        "host_step_s": Factor(value=1e-3, spread=0.5, source="test"),
        "hbm_gemm": Factor(value=0.8, spread=0.1, source="test"),
    },
    overrides={"engine:a": {"host_step_s": Factor(value=2e-3, spread=0.5, source="test")}},
)
BELIEFS = (Belief(factor="host_step_s", spread=0.5), Belief(factor="host_step_s", spread=0.3, tag="engine:b"))


def evidence(true: Floats, slopes: Floats, noise: Floats, group: Floats | None = None) -> Evidence:
    """Return what is seen at multipliers of one when the truth is exp(`true`)."""
    rows = len(slopes)
    return Evidence(
        errors=-(slopes @ true) + noise,
        slopes=slopes,
        weights=np.ones(rows),
        group=np.zeros(rows, dtype=np.int64) if group is None else group.astype(np.int64),
    )


@given(true=st.floats(-0.4, 0.4))
def test_many_agreeing_measurements_win_over_the_belief(true: float) -> None:
    slopes = np.ones((400, 1))
    seen = evidence(np.array([true]), slopes, np.zeros(400))
    fitted = step(seen, BELIEFS[:1], np.zeros(1))
    assert fitted.logs[0] == pytest.approx(true, abs=0.02)
    assert determined(BELIEFS[:1], fitted) == (True,)


def test_without_evidence_a_multiplier_stays_where_it_is() -> None:
    slopes = np.column_stack([np.ones(50), np.zeros(50)])
    fitted = step(evidence(np.array([0.3, 0.0]), slopes, np.zeros(50)), BELIEFS, np.zeros(2))
    assert fitted.logs[1] == pytest.approx(0.0, abs=1e-9)
    assert fitted.spreads[1] == pytest.approx(BELIEFS[1].spread)
    assert determined(BELIEFS, fitted) == (True, False)


def test_a_few_wild_points_do_not_move_the_rest() -> None:
    noise = np.zeros(100)
    noise[:10] = 3.0
    fitted = step(evidence(np.array([0.2]), np.ones((100, 1)), noise), BELIEFS[:1], np.zeros(1))
    assert fitted.logs[0] == pytest.approx(0.2, abs=0.03)


def test_what_is_left_out_does_not_enter_its_own_fit() -> None:
    group = np.repeat([0.0, 1.0], 50)
    slopes = np.ones((100, 1))
    seen = evidence(np.array([0.0]), slopes, np.where(group == 1, -0.4, 0.0), group)
    whole = step(seen, BELIEFS[:1], np.zeros(1))
    without = left_out(seen, BELIEFS[:1], np.zeros(1))
    assert without.shape == (2, 1)
    assert without[1, 0] == pytest.approx(0.0, abs=0.01)
    assert without[0, 0] > whole.logs[0] > without[1, 0]


def test_a_tag_multiplies_on_top_of_its_parent_and_shares_stay_shares() -> None:
    beliefs = (*BELIEFS, Belief(factor="hbm_gemm", spread=0.5))
    logs = np.array([[np.log(2), np.log(3), np.log(10)]])
    plain = factor_arrays(REFERENCE, beliefs, logs, ())
    tagged = factor_arrays(REFERENCE, beliefs, logs, ("engine:b",))
    assert plain["host_step_s"][0] == pytest.approx(2e-3)
    assert tagged["host_step_s"][0] == pytest.approx(6e-3)
    assert plain["hbm_gemm"][0] == 1.0


@given(common=st.floats(-1, 1), own=st.floats(-1, 1))
def test_what_is_written_down_is_what_was_fitted(common: float, own: float) -> None:
    logs = np.array([common, own])
    kept = revised(REFERENCE, BELIEFS, logs, np.array([0.1, 0.1]), "test")
    for tags in ((), ("engine:a",), ("engine:b",)):
        expected = factor_arrays(REFERENCE, BELIEFS, logs[None], tags)["host_step_s"][0]
        assert kept.value("host_step_s", tags) == pytest.approx(expected, rel=2e-3)


def test_slopes_are_those_of_the_prediction() -> None:
    def predict(factors: dict[str, Floats]) -> Floats:
        return np.log(np.stack([factors["host_step_s"], 5 / factors["host_step_s"] ** 2]))

    values, slopes = answers(predict, REFERENCE, BELIEFS, np.zeros(2), ("engine:b",))  # type: ignore[arg-type]
    assert values[0] == pytest.approx(np.log(1e-3))
    assert slopes == pytest.approx(np.array([[1.0, 1.0], [-2.0, -2.0]]), abs=1e-6)


def test_a_load_nobody_stated_is_refused() -> None:
    with pytest.raises(BadInputError, match="load"):
        answers(lambda factors: None, REFERENCE, BELIEFS, np.zeros(2), ())
