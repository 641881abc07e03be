"""One's own measurements: believed where they help with those held back, left alone where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sizewell.calibrator.beliefs import Belief, Floats
from sizewell.calibrator.fit import Evidence
from sizewell.calibrator.own import Which, fit_own, held_back, own_beliefs

BELIEFS = own_beliefs(("vendor:nvidia", "gpu:here", "engine:vllm", "engine:vllm-v1"))


def observed(true: Floats, noise: Floats) -> object:
    """Return what measurements say of multipliers when the truth is exp(`true`) of the first two beliefs."""
    rows = len(noise)
    slopes = np.zeros((rows, len(BELIEFS)))
    slopes[:, 0], slopes[::2, 1] = 1.0, 1.0

    def observe(logs: Floats, _: object) -> Evidence:
        errors = slopes[:, :2] @ (logs[:2] - true) + noise
        return Evidence(errors=errors, slopes=slopes, weights=np.ones(rows), group=np.zeros(rows, dtype=np.int64))

    return observe


def test_only_what_is_there_is_looked_for() -> None:
    assert {belief.tag for belief in BELIEFS} == {"gpu:here", "engine:vllm"}


def test_a_machine_that_differs_is_found_and_what_it_does_not_say_stays() -> None:
    own = fit_own(observed(np.array([0.4, -0.3]), np.zeros(60)), BELIEFS)  # type: ignore[arg-type]
    assert own.improves
    assert own.after_fraction < 0.05 < own.before_fraction
    assert np.abs(own.fitted.logs[:2] - [0.4, -0.3]).max() < 0.05
    assert own.known[:2] == (True, True)
    assert not any(own.known[2:])
    assert not own.fitted.logs[2:].any()
    assert own.held_back == held_back(60).sum() == 20


def test_what_stands_for_another_is_as_open_as_that_one_is() -> None:
    """Links of half the rate look like products of 0.8: how fast either is stays unknown, what both do together not."""
    beliefs = [Belief(factor=name, spread=0.5) for name in ("relative_flops", "relative_link")]
    slopes = -np.outer(np.linspace(0.5, 1.0, 30), [0.9, 0.3])
    true = np.array([0.0, np.log(0.5)])

    def observe(logs: Floats, free: Which) -> Evidence:
        errors = slopes @ (logs - true)
        return Evidence(
            errors=errors, slopes=slopes * free, weights=np.ones(30), group=np.zeros(30, dtype=np.int64)
        )  # fmt: skip

    own = fit_own(observe, beliefs)
    assert own.known == (True, False) and own.after_fraction < 0.05
    log, spread = own.fitted.logs[0], own.fitted.spreads[0]
    assert log < -0.15 and abs(log) < 2 * spread, "products are as stated"
    assert own.fitted.spreads[1] == pytest.approx(0.5)


def test_noise_alone_does_not_improve_anything() -> None:
    noise = np.random.default_rng(3).normal(0, 0.5, 30)
    noise[held_back(30)] = 0.0
    own = fit_own(observed(np.zeros(2), noise), BELIEFS)  # type: ignore[arg-type]
    assert not own.improves
