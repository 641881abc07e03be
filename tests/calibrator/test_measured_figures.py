"""Machine figures made by the cost model with hidden factors: found again, within the spread that is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.calibrator.measured_figures import (
    ASKED,
    FigureEvidence,
    figure_beliefs,
    figures_apart,
    why_no_evidence,
)
from sizewell.calibrator.own import Own, fit_own
from sizewell.calibrator.probe_grid import Scope, probes
from sizewell.calibrator.side_by_side import predict_probe
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster
from sizewell.specs.calibration import Efficiencies, Factor
from sizewell.specs.machine_figure import MachineFigure, Probe

KINDS = ("gemm", "launch", "copy", "collective")
HIDDEN = {
    "relative_flops": 0.8, "relative_hbm": 0.85, "relative_fixed": 1.6, "relative_link": 0.7, "link_host": 1.3,
}  # fmt: skip
SCOPE = Scope(device="gpu", memory_bytes=140e9, devices=8, dtypes=("bf16", "fp8"), quick=True, kinds=KINDS)


def hidden(key: str, factors: dict[str, float]) -> Efficiencies:
    """Return what is shipped, with other factors on one accelerator."""
    reference = read_efficiencies()
    table = {name: Factor(value=value, spread=0.1, source="hidden") for name, value in factors.items()}
    return replace(reference, scales={**reference.scales, f"gpu:{key}": table})


def figures(
    key: str, scope: Scope, factors: dict[str, float], noise: float = 0.0
) -> tuple[MachineFigure, ...]:  # fmt: skip
    """Return what a machine of hidden factors would be measured at, give or take `noise` (ln)."""
    place, truth, rng = cluster(key, gpus_per_node=scope.devices), hidden(key, factors), np.random.default_rng(7)
    found = []
    for probe in probes(scope, {}):
        predicted = predict_probe(probe, place, truth, {})
        if predicted:
            found.append(MachineFigure(
                machine=key, probe=probe, kernel="", seconds=predicted.seconds * float(np.exp(rng.normal(0, noise))),
                repeats=5, spread_fraction=0.02, flops_per_s=0.0, bytes_per_s=0.0, versions="", command="", date="",
            ))  # fmt: skip
    return tuple(found)


def fitted(
    key: str, measured: tuple[MachineFigure, ...], gpus: int, in_force: Efficiencies | None = None
) -> Own:  # fmt: skip
    place = cluster(key, gpus_per_node=gpus)
    evidence = FigureEvidence(figures=measured, cluster=place, reference=in_force or read_efficiencies())
    beliefs = figure_beliefs(place)
    apart = figures_apart([figure.probe for figure in measured])
    return fit_own(lambda logs, _: evidence.observe(beliefs, logs), beliefs, apart, ASKED)


def test_hidden_factors_are_found_within_their_spread() -> None:
    measured = figures("h100-sxm-80gb", SCOPE, HIDDEN, noise=0.03)
    own = fitted("h100-sxm-80gb", measured, 8)
    assert own.improves
    assert own.after_fraction < 0.05 < own.before_fraction
    for belief, log, spread in zip(own.beliefs, own.fitted.logs, own.fitted.spreads, strict=True):
        if belief.factor in HIDDEN:
            assert abs(log - np.log(HIDDEN[belief.factor])) < 2 * spread, belief
            assert spread < 0.2, belief


def test_what_was_not_measured_stays() -> None:
    scope = replace(SCOPE, devices=1, kinds=("gemm",))
    own = fitted("h100-sxm-80gb", figures("h100-sxm-80gb", scope, HIDDEN), 1)
    stays = {belief.factor for belief, known in zip(own.beliefs, own.known, strict=True) if not known}
    assert stays >= {"relative_link", "link_host"}
    assert not any(own.fitted.logs[at] for at, known in enumerate(own.known) if not known)


def test_noise_is_hardly_ever_learnt() -> None:
    """A rule that takes any gain would take half of these."""
    key = "h100-sxm-80gb"
    true, rng = figures(key, replace(SCOPE, devices=1, kinds=("gemm", "copy")), {}), np.random.default_rng(3)
    taken = 0
    for _ in range(12):
        blurred = rng.normal(0, 0.25, len(true))
        measured = (replace(f, seconds=f.seconds * float(np.exp(by))) for f, by in zip(true, blurred, strict=True))
        taken += fitted(key, tuple(measured), 1).improves
    assert taken <= 1


def test_a_share_at_its_most_still_answers_to_slower_figures() -> None:
    """Products believed to reach all of the memory's rate have no slope upwards, and slower ones are seen."""
    scope, key = replace(SCOPE, devices=1, small=True, quick=False, dtypes=("bf16",), kinds=("gemm",)), "rtx-4090-24gb"
    measured = figures(key, scope, {"relative_hbm": 0.6})
    own = fitted(key, measured, 1, hidden(key, {"relative_hbm": 1.2}))
    assert own.known[1]
    assert 1.2 * np.exp(own.fitted.logs[1]) == pytest.approx(0.6, rel=0.05)


def test_whole_sweeps_are_held_back_each_in_its_turn() -> None:
    measured = probes(SCOPE, {})
    turns = figures_apart(measured)
    assert turns.shape == (3, len(measured))
    assert turns.sum(axis=0).max() == 1
    for out in turns.tolist():
        found = list(zip(measured, out, strict=True))
        assert 0.2 < sum(out) / len(out) < 0.5
        places = [(held, (p.shape["n"], p.shape["k"])) for p, held in found if p.kind == "gemm"]
        assert not {place for held, place in places if held} & {place for held, place in places if not held}


def test_a_type_measured_once_is_not_held_back() -> None:
    measured = probes(replace(SCOPE, dtypes=("bf16", "fp32"), kinds=("gemm",)), {})
    out = figures_apart(measured).any(axis=0)
    assert not any(held for probe, held in zip(measured, out, strict=True) if probe.dtype == "fp32")


def test_kernels_that_only_bound_an_engine_are_no_evidence() -> None:
    gpu = cluster("a100-sxm-80gb", gpus_per_node=1).gpu
    shape = {"sequences": 8, "context_tokens": 2048, "heads": 32, "kv_heads": 8, "head_dim": 128}
    assert "bound" in why_no_evidence(Probe(kind="attention", op="decode", dtype="bf16", shape=shape), gpu)
    assert "no such part" in why_no_evidence(Probe(kind="launch", op="eager-kernel", dtype=""), gpu)
    product = Probe(kind="gemm", op="gemm", dtype="fp8", shape={"m": 1, "n": 4096, "k": 4096})
    assert "no fast path for fp8" in why_no_evidence(product, gpu)
    assert why_no_evidence(product, cluster("h100-sxm-80gb", gpus_per_node=1).gpu) == ""
