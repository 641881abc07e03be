"""A verdict follows from the numbers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tools.docs.claims import Case, Claim
from tools.docs.units import UNITS, shown, shown_range
from tools.docs.verdict import Finding, judge


def claim(low: float, high: float, tolerance: float = 0.1) -> Claim:
    return Claim(
        document="d", section="s", words="w", low=low, high=high, unit="bytes",
        case=Case(evaluator="e"), reason="r", tolerance=tolerance,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "computed", "kind"),
    [
        (100, 100, 105, "right"),
        (100, 100, 90.5, "right"),
        (10, 50, 30, "right"),
        (100, 100, 130, "off"),
        (10, 50, 60, "off"),
    ],
)
def test_a_claim_is_right_within_its_tolerance(low: float, high: float, computed: float, kind: str) -> None:
    assert judge(claim(low, high), Finding(value=computed), None).kind == kind


def test_another_case_saves_a_wrong_claim() -> None:
    verdict = judge(claim(100, 100), Finding(value=400), Finding(value=99))
    assert verdict.kind == "right for another case"


def test_a_right_claim_does_not_ask_for_another_case() -> None:
    assert judge(claim(100, 100), Finding(value=100), Finding(value=100)).kind == "right"


def test_a_claim_beyond_a_limit_is_no_number_physics_allows() -> None:
    assert judge(claim(300, 300), Finding(value=100, ceiling=200), None).kind == "not a number physics allows"
    assert judge(claim(10, 10), Finding(value=100, floor=50), None).kind == "not a number physics allows"


def test_a_claim_between_belief_and_limit_is_only_off() -> None:
    assert judge(claim(150, 150), Finding(value=100, ceiling=200), None).kind == "off"


def test_words_name_factor_and_direction() -> None:
    assert judge(claim(400, 400), Finding(value=100), None).words == "off by 4× (too high)"
    assert judge(claim(25, 25), Finding(value=100), None).words == "off by 4× (too low)"


def test_the_nearer_end_of_a_range_is_compared() -> None:
    assert judge(claim(10, 50), Finding(value=100), None).ratio == 0.5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.342e12, "bytes", "1,342 GB"),
        (70272, "bytes", "70.3 kB"),
        (1152, "bytes", "1.15 kB"),
        (0.104, "seconds", "104 ms"),
        (2100, "seconds", "35 min"),
        (0.982, "fraction", "98.2 %"),
        (74e9, "flops", "74 GFLOP"),
        (52123.4, "tokens_per_s", "52,123 tok/s"),
    ],
)
def test_units_print_three_digits(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_every_unit_prints_zero_and_a_range() -> None:
    assert all(show(0.0) for show in UNITS.values())
    assert shown_range(10, 50, "factor") == "10× – 50×"


def test_a_measurement_is_never_judged() -> None:
    measured = replace(claim(120, 120), measured=True)
    assert judge(measured, Finding(value=100), None).words == "measured; sizewell predicts 17 % less"
    assert judge(measured, Finding(value=480), None).words == "measured; sizewell predicts 4× more"


def test_a_recommendation_is_right_when_it_is_enough() -> None:
    recommended = replace(claim(100, 100), suffices=True)
    assert judge(recommended, Finding(value=50), None).words == "right: 2× what is needed"
    assert judge(recommended, Finding(value=200), None).kind == "off"
