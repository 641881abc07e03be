"""Fit the curves of collectives on public measurements: latency and shares of the link, by wiring and architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tables import messages

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import nodes_for, read_gpu
from sizewell.costs.batch import Floats
from sizewell.costs.collectives import exchange
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.work import Collective
from sizewell.specs.calibration import LINK_PARAMETERS
from sizewell.specs.hardware import ClusterSpec

LIMITS = {
    "fixed_s": (1e-6, 5e-5), "rank_s": (1e-9, 1e-5), "phase_s": (1e-8, 1e-4), "small_share": (0.02, 1.0),
    "large_share": (0.05, 1.0),
}  # fmt: skip
PRIORS = {"fixed_s": 5e-6, "rank_s": 1e-7, "phase_s": 3e-6, "small_share": 0.6, "large_share": 0.75}
LARGEST_BYTES = 1.2e8
"""Messages of a step are no larger."""


def link_curves(root: Path) -> list[str]:
    """Return the lines of the calibration file that hold the curves of collectives."""
    frame = messages(root)
    frame = frame[frame.bytes <= LARGEST_BYTES]
    frame = frame.assign(tag=[_tag(gpu) for gpu in frame.gpu])
    lines = []
    for kind, mine in frame.groupby("kind", sort=True):
        if kind == "all-reduce":
            mine = mine[mine.engine != "nccl"]
        for tag, part in [("", mine[mine.tag != "near:slot"]), *mine.groupby("tag")]:
            lines += _lines(str(kind), str(tag), part)
            engines = sorted(part.engine.unique())
            for engine in engines if len(engines) > 1 and tag and tag != "near:slot" else ():
                lines += _lines(str(kind), f"{tag}+engine:{engine}", part[part.engine == engine])
    return lines


def _tag(gpu: str) -> str:
    spec = read_gpu(gpu)
    return f"architecture:{spec.architecture}" if spec.scale_up_bytes_per_s else "near:slot"


def _machine(gpu: str) -> Machines:
    spec = read_gpu(gpu)
    node = next(n for n in nodes_for(spec) if max(n.gpu_counts) >= 4)
    return Machines.of([ClusterSpec(gpu=spec, node=node, gpus_per_node=max(node.gpu_counts), nodes=1)])


def _lines(kind: str, tag: str, frame: pd.DataFrame) -> list[str]:
    parts = [
        (_machine(str(gpu)), int(ranks), rows.bytes.to_numpy(float), rows.seconds.to_numpy(float))
        for (gpu, ranks), rows in frame.groupby(["gpu", "ranks"])
    ]
    names = LINK_PARAMETERS
    low, high = (np.log([LIMITS[name][side] for name in names]) for side in (0, 1))
    start = np.log([PRIORS[name] for name in names])
    factors = read_efficiencies().values(())

    def logs(parameters: Floats) -> list[Floats]:
        found = []
        for machines, ranks, sizes, seconds in parts:
            reached = Reached(
                machines=machines,
                factors={name: np.array([value]) for name, value in factors.items()},
                shapes={},
                curves={kind: np.exp(parameters)[:, None]},
            )
            each = exchange(Collective(kind=kind, ranks=ranks, bytes=sizes), reached)  # type: ignore[arg-type]
            found.append(np.log((each.latency_s + each.wire_s)[0] / seconds))
        return found

    def residuals(parameters: Floats) -> Floats:
        weighed = [each * 10 / np.sqrt(len(each)) for each in logs(parameters)]
        return np.concatenate([*weighed, (parameters - start) * 0.1])

    found = least_squares(residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1)
    sizes = np.abs(np.concatenate(logs(found.x)))
    median, p80 = float(np.median(sizes)), float(np.quantile(sizes, 0.8))
    print(kind, tag, {n: float(f"{v:.3g}") for n, v in zip(names, np.exp(found.x))}, round(median, 3), round(p80, 3), flush=True)
    engines = ", ".join(sorted(f"{e} {v}" for e, v in set(zip(frame.engine, frame.version))))
    gpus = ", ".join(sorted(frame.gpu.unique()))
    return [
        f'[curves."{kind}"."{tag}"]',
        *(f"{name} = {value:.3g}" for name, value in zip(names, np.exp(found.x), strict=True)),
        f"spread = {np.exp(p80) - 1:.2f}",
        f'source = "aiconfigurator-core 0.12.0: {len(frame)} rows of {gpus} under {engines}; '
        f'median |ln| {median:.3f}, p80 {p80:.3f}"',
        "",
    ]  # fmt: skip
