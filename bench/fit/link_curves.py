"""Fit the curves of collectives on public measurements: latency and shares of the link, by wiring and architecture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tables import messages

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

FAR = {"far_collective_s": np.zeros(1), "link_far": np.ones(1)}
"""What exchange() asks of other nodes, which no table crosses."""


def link_curves(root: Path) -> list[str]:
    """Return the lines of the calibration file that hold the curves of collectives."""
    lines = []
    for kind, tag, part in _parts(root):
        parameters = _fit(kind, part)
        sizes = np.abs(_errors(kind, part, parameters))
        median, p80 = float(np.median(sizes)), float(np.quantile(sizes, 0.8))
        print(
            kind,
            tag,
            dict(zip(LINK_PARAMETERS, np.exp(parameters).round(9), strict=True)),
            f"{median:.3f} {p80:.3f}",
            flush=True,
        )
        engines = ", ".join(sorted(f"{e} {v}" for e, v in set(zip(part.engine, part.version, strict=True))))
        lines += [
            f'[curves."{kind}"."{tag}"]',
            *(f"{name} = {value:.3g}" for name, value in zip(LINK_PARAMETERS, np.exp(parameters), strict=True)),
            f"spread = {np.exp(p80) - 1:.2f}",
            f'source = "aiconfigurator-core 0.12.0: {len(part)} rows of {", ".join(sorted(part.gpu.unique()))} under '
            f'{engines}; median |ln| {median:.3f}, p80 {p80:.3f}"',
            "",
        ]
    return lines


def link_residuals(root: Path) -> list[str]:
    """Return one line for each accelerator and engine, as kernel_curves.residual_rows does for kernels."""
    fits = {(kind, tag): _fit(kind, part) for kind, tag, part in _parts(root)}
    lines = []
    for kind, mine in _frame(root).groupby("kind"):
        for (gpu, engine, version, table), rows in mine.groupby(["gpu", "engine", "version", "table"]):
            tag = str(rows.tag.iloc[0])
            used = fits.get((str(kind), f"{tag}+engine:{engine}"), fits[str(kind), tag])
            seen = _errors(str(kind), rows, used)
            family = mine[(mine.tag == tag) & (mine.gpu != gpu)]
            others = family if len(family) else mine[mine.gpu != gpu]
            missed = np.abs(_errors(str(kind), rows, _fit(str(kind), others)))
            lines.append(
                f"{kind},{gpu},{engine},{version},{len(rows)},{np.median(np.abs(seen)):.3f},"
                f"{np.quantile(np.abs(seen), 0.8):.3f},{np.median(seen):+.3f},"
                f"{np.median(missed):.3f},{np.quantile(missed, 0.8):.3f},{table}"
            )
    return lines


def _frame(root: Path) -> pd.DataFrame:
    frame = messages(root)
    frame = frame[(frame.bytes <= LARGEST_BYTES) & ~((frame.kind == "all-reduce") & (frame.engine == "nccl"))]
    return frame.assign(tag=[_tag(gpu) for gpu in frame.gpu])


def _parts(root: Path) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield class, tag and rows of every curve: all fabrics, each architecture, engines apart, cards in slots."""
    for kind, mine in _frame(root).groupby("kind", sort=True):
        for tag, part in [("", mine[mine.tag != "near:slot"]), *mine.groupby("tag")]:
            yield str(kind), str(tag), part
            engines = sorted(part.engine.unique())
            for engine in engines if len(engines) > 1 and tag and tag != "near:slot" else ():
                yield str(kind), f"{tag}+engine:{engine}", part[part.engine == engine]


def _tag(gpu: str) -> str:
    spec = read_gpu(gpu)
    return f"architecture:{spec.architecture}" if spec.scale_up_bytes_per_s else "near:slot"


def _machine(gpu: str) -> Machines:
    spec = read_gpu(gpu)
    node = next(n for n in nodes_for(spec) if max(n.gpu_counts) >= 4)
    return Machines.of([ClusterSpec(gpu=spec, node=node, gpus_per_node=max(node.gpu_counts), nodes=1)])


def _errors(kind: str, frame: pd.DataFrame, logs: Floats) -> Floats:
    """Return ln(predicted / measured) of every row, those of one accelerator and number of ranks together."""
    found = []
    for (gpu, ranks), rows in frame.groupby(["gpu", "ranks"]):
        reached = Reached(machines=_machine(str(gpu)), factors=FAR, shapes={}, curves={kind: np.exp(logs)[:, None]})
        message = Collective(kind=kind, ranks=int(ranks), bytes=rows.bytes.to_numpy(float))  # type: ignore[arg-type]
        each = exchange(message, reached)
        found.append(np.log((each.latency_s + each.wire_s)[0] / rows.seconds.to_numpy(float)))
    return np.concatenate(found)


def _fit(kind: str, frame: pd.DataFrame) -> Floats:
    low, high = (np.log([LIMITS[name][side] for name in LINK_PARAMETERS]) for side in (0, 1))
    start = np.log([PRIORS[name] for name in LINK_PARAMETERS])
    weights = 10 / np.sqrt(frame.groupby(["gpu", "ranks"]).bytes.transform("size"))
    ordered = np.concatenate([weights.loc[rows.index].to_numpy() for _, rows in frame.groupby(["gpu", "ranks"])])

    def residuals(logs: Floats) -> Floats:
        return np.concatenate([_errors(kind, frame, logs) * ordered, (logs - start) * 0.1])

    found = least_squares(residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1)
    return np.asarray(found.x, dtype=np.float64)
