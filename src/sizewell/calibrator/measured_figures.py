"""Measured machine figures as evidence: kernels and messages that engines run too, beside their prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Belief, Floats, factor_arrays
from sizewell.calibrator.fit import NOISE, Evidence
from sizewell.calibrator.own import HELD_BACK_EVERY, Asked
from sizewell.calibrator.probe_work import probe_work
from sizewell.calibrator.side_by_side import probe_seconds
from sizewell.costs.machines import NARROW, Machines, Reached
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.encoding import ComputeType
from sizewell.specs.hardware import ClusterSpec, GpuSpec
from sizewell.specs.machine_figure import FigureKind, MachineFigure, Probe

SAME_LIBRARIES: frozenset[FigureKind] = frozenset({"gemm", "launch", "copy", "collective"})
"""Kinds for which engines call what was measured. PyTorch's attention, experts and whole layers only bound theirs."""
FACTORS = ("relative_flops", "relative_hbm", "relative_fixed", "kernel_gap_s", "relative_link", "link_host")
"""What those kinds can tell of a machine, whatever engine runs on it."""
OFFSET = 0.5
"""How far a machine of its own may lie from its kind, one standard deviation of the logarithm."""
ASKED = Asked(standard_errors=1.0, share=0.05)
"""What held-back figures must gain."""
NUDGE = -0.2
"""ln of the change by which slopes are taken: downwards and far, as a share at its most answers to nothing else."""
_SWEPT = frozenset({"m", "bytes"})
"""Sizes along which neighbours hardly differ."""
_NO_ENGINE = ("engine:",)

_Sweep = tuple[object, ...]


def figure_beliefs(cluster: ClusterSpec) -> tuple[Belief, ...]:
    """Return what can differ on the machine of some figures."""
    return tuple(Belief(factor=name, spread=OFFSET, tag=f"gpu:{cluster.gpu.key}") for name in FACTORS)


def why_no_evidence(probe: Probe, gpu: GpuSpec) -> str:
    """Return why a probe says nothing of what engines reach on `gpu`; empty where it does.

    Raises BadInputError for a probe docs/measure.md does not list.
    """
    if probe.kind == "memory":
        return "the memory's rate; engines reach what products do of it"
    if probe.kind not in SAME_LIBRARIES:
        return "PyTorch's own kernels only bound an engine's"
    if not probe_work(probe, {}).operators:
        return "the cost model has no such part"
    compute = cast(ComputeType, probe.dtype)
    if probe.kind == "gemm" and compute in NARROW and gpu.peak_flops_per_s(compute) <= gpu.peak_flops_per_s("bf16"):
        return f"no fast path for {compute}: engines widen it by kernels of their own"
    return ""


def figures_apart(probes: Sequence[Probe]) -> NDArray[np.bool_]:
    """Return which figures are held back in each of three turns, [3, N]: whole sweeps, every third one of a kind.

    A sweep is one matrix under all its rows, one stream or message in all its sizes: neighbours would tell of one
    another. Sweeps with a type that was measured nowhere else always stay.
    """
    sweeps = [_sweep(probe) for probe in probes]
    homes: dict[tuple[str, str], set[_Sweep]] = {}
    for probe, sweep in zip(probes, sweeps, strict=True):
        homes.setdefault((probe.kind, probe.dtype), set()).add(sweep)
    only = {next(iter(found)) for found in homes.values() if len(found) == 1}
    spare: dict[str, list[_Sweep]] = {}
    for probe, sweep in zip(probes, sweeps, strict=True):
        if sweep not in only and sweep not in spare.setdefault(probe.kind, []):
            spare[probe.kind].append(sweep)
    turn = {sweep: at % HELD_BACK_EVERY for found in spare.values() for at, sweep in enumerate(found)}
    held = [[turn.get(sweep) == number for sweep in sweeps] for number in range(HELD_BACK_EVERY)]
    turns = [each for each in held if any(each)]
    return np.array(turns, dtype=bool).reshape(len(turns), len(sweeps))


def _sweep(probe: Probe) -> _Sweep:
    fixed = sorted((name, size) for name, size in probe.shape.items() if name not in _SWEPT)
    return (probe.kind, probe.op, *fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureEvidence:
    """Observes figures that are evidence, all of one machine, under multipliers."""

    figures: tuple[MachineFigure, ...]
    cluster: ClusterSpec
    reference: Efficiencies

    def observe(self, beliefs: Sequence[Belief], logs: Floats) -> Evidence:
        """Return errors ln(predicted / measured) and their slopes at multipliers exp(`logs`) [P]."""
        trials = np.concatenate([logs[None], logs + NUDGE * np.eye(len(beliefs))])
        reached = self._reached(Machines.of([self.cluster] * len(trials)), beliefs, trials)
        works = [probe_work(figure.probe, {}) for figure in self.figures]
        predicted = np.log([probe_seconds(work, reached)[0] for work in works])
        measured = np.log([figure.seconds for figure in self.figures])
        spreads = np.array([figure.spread_fraction for figure in self.figures])
        return Evidence(
            errors=predicted[:, 0] - measured,
            slopes=(predicted[:, 1:] - predicted[:, :1]) / NUDGE,
            weights=NOISE**2 / (NOISE**2 + spreads**2),
            group=np.zeros(len(works), dtype=np.int64),
        )

    def _reached(self, machines: Machines, beliefs: Sequence[Belief], trials: Floats) -> Reached:
        tags = (*machines.tags[0], *_NO_ENGINE)
        return Reached(
            machines=machines,
            factors=factor_arrays(self.reference, beliefs, trials, tags),
            shapes=self.reference.curves,
            tags=_NO_ENGINE,
            slots=self._reached(machines.in_slots(), beliefs, trials) if machines.has_islands else None,
        )
