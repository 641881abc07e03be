"""Predicted beside measured, on known machines and on those only their own figures describe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.calibrator.implied_machine import implied_machine
from sizewell.calibrator.side_by_side import Beside, PredictedProbe, reach, side_by_side
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster, read_gpu
from sizewell.specs.machine_figure import FigureKind, MachineFigure, Probe


def figure(probe: Probe, seconds: float = 1.0, flops_per_s: float = 0.0, bytes_per_s: float = 0.0) -> MachineFigure:
    return MachineFigure(
        machine="m", probe=probe, kernel="", seconds=seconds, repeats=3, spread_fraction=0.1, flops_per_s=flops_per_s,
        bytes_per_s=bytes_per_s, versions="", command="", date="2026-11-21",
    )  # fmt: skip


def stream(rate: float) -> MachineFigure:
    return figure(Probe(kind="memory", op="read", dtype="fp32", shape={"bytes": 2**30}), bytes_per_s=rate)


def product(dtype: str, rate: float, m: int = 4096) -> MachineFigure:
    shape = {"m": m, "n": 8192, "k": 8192}
    return figure(Probe(kind="gemm", op="gemm", dtype=dtype, shape=shape), flops_per_s=rate)


def test_a_figure_stands_beside_its_prediction() -> None:
    seen = product("bf16", 1.0)
    (row,) = side_by_side([seen], cluster("h200", gpus_per_node=1), read_efficiencies(), {})
    assert row.predicted is not None
    assert row.ratio == row.predicted.seconds / seen.seconds


def test_reach_groups_by_work_and_counts_only_what_is_predicted() -> None:
    fast, slow = product("bf16", 2e14), product("bf16", 1e14)
    rows = [
        Beside(figure=fast, predicted=PredictedProbe(seconds=1.2, floor_s=0.1)),
        Beside(figure=slow, predicted=PredictedProbe(seconds=0.5, floor_s=0.1)),
        Beside(figure=stream(1e12), predicted=None),
    ]
    products, streams = reach(rows)
    assert (products.figures, products.best_flops_per_s) == (2, 2e14)
    assert products.median_ratio == pytest.approx(0.85)
    assert products.within_25_percent_fraction == 0.5
    assert (streams.median_ratio, streams.best_bytes_per_s) == (None, 1e12)


def test_a_known_machine_is_found_again_from_what_it_should_reach() -> None:
    """Figures at exactly the default shares of an H200's stated rates imply the H200."""
    known, efficiencies = read_gpu("h200"), read_efficiencies()
    gemm, narrow = efficiencies.value("flops_gemm"), efficiencies.value("flops_narrow")
    figures = [
        stream(known.bytes_per_s * efficiencies.value("hbm_gemm")),
        stream(1e9),
        product("bf16", known.flops_per_s["bf16"] * gemm),
        product("bf16", 1e9, m=1),
        product("fp8", known.flops_per_s["fp8"] * gemm * narrow),
        product("int8", 1e9),
    ]
    bare = replace(known, bytes_per_s=0.0, flops_per_s={})
    implied = implied_machine(bare, figures, efficiencies)
    assert implied is not None
    assert implied.bytes_per_s == pytest.approx(known.bytes_per_s)
    assert implied.flops_per_s["bf16"] == pytest.approx(known.flops_per_s["bf16"])
    assert implied.flops_per_s["fp8"] == pytest.approx(known.flops_per_s["fp8"])
    assert "int8" not in implied.flops_per_s, "no fast path where the narrow type is slower"


@pytest.mark.parametrize("figures", [[], [stream(1e12)], [product("bf16", 1e14)], [stream(1e12), product("fp8", 1.0)]])
def test_a_machine_is_not_described_by_half_of_what_it_takes(figures: list[MachineFigure]) -> None:
    assert implied_machine(read_gpu("h200"), figures, read_efficiencies()) is None


def test_kinds_are_kept_apart() -> None:
    kinds: tuple[FigureKind, ...] = ("memory", "gemm")
    assert (
        tuple(
            row.kind for row in reach([Beside(figure=f, predicted=None) for f in (stream(1.0), product("bf16", 1.0))])
        )
        == kinds
    )
