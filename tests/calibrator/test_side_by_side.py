"""Predicted beside measured, on known machines and on those only their own figures describe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.calibrator.implied_machine import implied_machine
from sizewell.calibrator.probe_work import probe_work
from sizewell.calibrator.side_by_side import Beside, PredictedProbe, predict_probe, reach, side_by_side
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster, read_gpu
from sizewell.specs.hardware import ClusterSpec, GpuSpec
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


def placed(gpu: GpuSpec) -> ClusterSpec:
    return replace(cluster("h200", gpus_per_node=1), gpu=gpu)


def as_predicted(probe: Probe) -> MachineFigure:
    predicted = predict_probe(probe, placed(read_gpu("h200")), read_efficiencies(), {})
    assert predicted is not None
    work = probe_work(probe, {})
    return figure(probe, predicted.seconds, work.flops / predicted.seconds, work.bytes / predicted.seconds)


def test_a_known_machine_is_found_again_from_what_it_should_reach() -> None:
    """Figures exactly as predicted of an H200 imply its stated rates."""
    known = read_gpu("h200")
    large = [product(dtype, 1.0).probe for dtype in ("bf16", "fp32", "fp8")]
    figures = [as_predicted(probe) for probe in (stream(1.0).probe, *large, product("bf16", 1.0, m=1).probe)]
    bare = replace(known, bytes_per_s=0.0, flops_per_s={})
    implied = implied_machine(bare, [*figures, product("int8", 1e9)], read_efficiencies(), placed)
    assert implied is not None
    assert implied.bytes_per_s == pytest.approx(known.bytes_per_s, rel=0.01)
    assert set(implied.flops_per_s) == {"bf16", "fp32", "fp8"}, "no fast path where the narrow type is slower"
    for dtype, rate in implied.flops_per_s.items():
        assert rate == pytest.approx(known.flops_per_s[dtype], rel=0.02)


@pytest.mark.parametrize("figures", [[], [stream(1e12)], [product("bf16", 1e14)], [stream(1e12), product("fp8", 1.0)]])
def test_a_machine_is_not_described_by_half_of_what_it_takes(figures: list[MachineFigure]) -> None:
    assert implied_machine(read_gpu("h200"), figures, read_efficiencies(), placed) is None


def test_kinds_are_kept_apart() -> None:
    kinds: tuple[FigureKind, ...] = ("memory", "gemm")
    assert (
        tuple(
            row.kind for row in reach([Beside(figure=f, predicted=None) for f in (stream(1.0), product("bf16", 1.0))])
        )
        == kinds
    )
