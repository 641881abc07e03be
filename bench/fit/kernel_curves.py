"""Fit the curves of kernels and collectives on public measurements:

    pip download --no-deps aiconfigurator-core==0.12.0 && unzip the wheel somewhere outside the repository
    python bench/fit/kernel_curves.py PATH/aiconfigurator_core/systems/data      (needs the `fit` extra)

Robust least squares on ln(predicted / measured), every table weighing the same, with weak priors. Writes
catalog/data/calibrations/kernels.toml (the curves) and kernels-residuals.csv (how far they are off, by class, accelerator
and engine; `left_out` is with that accelerator unseen).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from link_curves import link_curves, link_residuals
from scipy.optimize import least_squares
from tables import Measured, measured

from sizewell.costs.batch import Floats
from sizewell.costs.kernels import Rates, spend
from sizewell.specs.calibration import KERNEL_PARAMETERS

PACKAGE = "aiconfigurator-core 0.12.0"
LIMITS = {
    "fixed_s": (1.5e-6, 1e-4), "depth_s": (1e-12, 1e-8), "unit_s": (1e-10, 2e-6), "row_share": (0.02, 1.0),
    "hbm_share": (0.2, 0.97), "flops_share": (0.02, 0.97), "pad_rows": (0.5, 512.0), "plain_rows": (0.01, 100.0),
}  # fmt: skip
PRIORS = {
    "fixed_s": 5e-6, "depth_s": 3e-10, "unit_s": 1e-8, "row_share": 0.5, "hbm_share": 0.85, "flops_share": 0.6,
    "pad_rows": 64.0, "plain_rows": 1.0,
}  # fmt: skip
UNUSED = {
    "gemm": ("unit_s", "plain_rows"), "experts": ("depth_s", "plain_rows"), "experts.w4": ("depth_s",),
    "experts.mx4": ("depth_s",), "decode-attention": ("depth_s", "row_share", "pad_rows"),
    "latent-attention": ("depth_s", "row_share", "pad_rows"), "prefill-attention": ("depth_s", "unit_s", "hbm_share", "pad_rows"),
    "elementwise": ("depth_s", "unit_s", "row_share", "flops_share", "pad_rows", "plain_rows"),
}  # fmt: skip
"""Parameters that say nothing about a class, or that its tables cannot tell from another."""

TILE_ROWS = {"hopper": 64.0}
"""Rows of the smallest matrix instruction in use: m64 of wgmma, else m16 of mma; not fitted, as no table is of a chip
with so little arithmetic for its bandwidth that they tell (an H20 has, and runs one sequence of a 14B at a third of its
bandwidth)."""

STRENGTH = {"hbm_share": 8.0, "flops_share": 4.0}
"""How many tables' worth of a tenth of a unit of ln a departure by one unit from the prior costs, else 1."""

OWN = 0.85
"""Share of its mean error under the curve of all engines below which an engine gets a curve of its own."""


class Fit(NamedTuple):
    """A curve, what it was fitted on and how far off it is: median and 80th percentile of |ln|, bias."""

    parameters: dict[str, float]
    tables: tuple[Measured, ...]
    median: float
    p80: float


def predicted(point: Measured, parameters: Sequence[float]) -> Floats:
    """Return the seconds of every row by a curve."""
    curve = np.asarray(parameters, dtype=np.float64)[:, None, None]
    gpu = point.gpu
    plain = max(1 / gpu.peak_flops_per_s("fp32"), 1 / point.flops_per_s)
    rates = Rates(np.array([[1 / point.flops_per_s]]), np.array([[plain]]), np.array([1 / gpu.bytes_per_s]))
    spent = spend(curve, _flat(point), rates)
    work = point.work
    fixed = parameters[0] * work.products[0] + parameters[1] * work.depth[0]
    seconds: Floats = spent.seconds[0, 0] + fixed
    return seconds


def _flat(point: Measured) -> object:
    # In the cost model these two do not depend on the batch; here every row is another shape.
    nothing = np.zeros((1, 1))
    return point.work._replace(products=nothing, depth=nothing)


def fit(tables: Sequence[Measured]) -> Fit:
    """Return the curve that fits some tables best."""
    kind = tables[0].kind
    unused = UNUSED.get(kind) or UNUSED[kind.split(".")[0]]
    names = [name for name in KERNEL_PARAMETERS if name not in unused and name != "tile_rows"]
    smallest = min(TILE_ROWS.get(table.gpu.architecture, 16.0) for table in tables)
    tile_rows = smallest if "pad_rows" in names else 0.0
    low, high = (np.log([LIMITS[name][side] for name in names]) for side in (0, 1))
    start = np.log([PRIORS[name] for name in names])
    pull = np.array([STRENGTH.get(name, 1.0) for name in names])

    def residuals(logs: Floats) -> Floats:
        parameters = whole(logs)
        parts = [np.log(predicted(t, parameters) / t.seconds) * 10 / np.sqrt(len(t)) for t in tables]
        return np.concatenate([*parts, pull * (logs - start) * 0.1])

    def whole(logs: Floats) -> Floats:
        free = dict(zip(names, np.exp(logs), strict=True))
        free["tile_rows"] = tile_rows
        return np.array(
            [free.get(name, PRIORS[name] if name.endswith("_share") else 0.0) for name in KERNEL_PARAMETERS]
        )

    found = least_squares(
        residuals, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1", f_scale=0.1
    )
    parameters = whole(found.x)
    sizes = np.concatenate([np.abs(np.log(predicted(t, parameters) / t.seconds)) for t in tables])
    named = dict(zip(KERNEL_PARAMETERS, (float(f"{value:.3g}") for value in parameters), strict=True))
    return Fit(named, tuple(tables), float(np.median(sizes)), float(np.quantile(sizes, 0.8)))


def errors(tables: Iterable[Measured], found: Fit) -> Floats:
    """Return ln(predicted / measured) of all rows."""
    parameters = list(found.parameters.values())
    return np.concatenate([np.log(predicted(t, parameters) / t.seconds) for t in tables])


def curves(points: Sequence[Measured]) -> dict[str, dict[str, Fit]]:
    """Return the fits by class and tag: for all, for each architecture, and for engines that differ from the others."""
    found: dict[str, dict[str, Fit]] = {}
    for kind in sorted({p.kind for p in points}):
        mine = [p for p in points if p.kind == kind]
        table = {"": fit(mine)}
        for architecture in sorted({p.gpu.architecture for p in mine}):
            of = [p for p in mine if p.gpu.architecture == architecture]
            table[f"architecture:{architecture}"] = shared = fit(of)
            engines = {p.engine for p in of}
            for engine in sorted(engines) if len(engines) > 1 else ():
                own = [p for p in of if p.engine == engine and not p.beside]
                apart = fit(own)
                if _mean_error(own, apart) < OWN * _mean_error(own, shared):
                    table[f"architecture:{architecture}+engine:{engine}"] = apart
            for engine, beside in sorted({(p.engine, p.beside) for p in of if p.beside}):
                told = [p for p in of if (p.engine, p.beside) == (engine, beside)]
                table[f"architecture:{architecture}+engine:{engine}+{beside}"] = fit(told)
        found[kind] = table
        print(kind, {tag: (round(f.median, 3), round(f.p80, 3)) for tag, f in table.items()}, flush=True)
    return found


def _mean_error(tables: Sequence[Measured], found: Fit) -> float:
    return float(np.mean(np.abs(errors(tables, found))))


def nearest(table: dict[str, Fit], point: Measured) -> Fit:
    """Return the curve the cost model would use."""
    tags = {f"architecture:{point.gpu.architecture}", f"engine:{point.engine}", point.beside, ""}
    return [f for tag, f in table.items() if tags.issuperset(tag.split("+"))][-1]


def residual_rows(points: Sequence[Measured], found: dict[str, dict[str, Fit]]) -> list[str]:
    """Return one line for each table: class, accelerator, engine, version, rows, median, p80, bias, left out."""
    lines = ["class,gpu,engine,engine_version,rows,median_ln,p80_ln,bias_ln,left_out_median_ln,left_out_p80_ln,table"]
    for kind, table in found.items():
        for gpu in sorted({p.gpu.key for p in points if p.kind == kind}):
            mine = [p for p in points if p.kind == kind and p.gpu.key == gpu]
            unseen = _without(points, mine[0])
            for point in mine:
                seen = errors([point], nearest(table, point))
                missed = np.abs(errors([point], unseen)) if unseen else None
                left = (np.median(missed), np.quantile(missed, 0.8)) if missed is not None else ("", "")
                lines.append(
                    f"{kind},{gpu},{point.engine},{point.version},{len(point)},{np.median(np.abs(seen)):.3f},"
                    f"{np.quantile(np.abs(seen), 0.8):.3f},{np.median(seen):+.3f},"
                    + (f"{left[0]:.3f},{left[1]:.3f}" if unseen else ",")
                    + f",{point.table}"
                )
    return lines


def _without(points: Sequence[Measured], point: Measured) -> Fit | None:
    """Return the curve without an accelerator: from its architecture if that has others, else from all others."""
    others = [p for p in points if p.kind == point.kind and p.gpu.key != point.gpu.key]
    family = [p for p in others if p.gpu.architecture == point.gpu.architecture]
    return fit(family or others) if others else None


def source(found: Fit) -> str:
    """Say what a curve was fitted on."""
    gpus = sorted({t.gpu.key for t in found.tables})
    engines = sorted({f"{t.engine} {t.version}" for t in found.tables})
    rows = sum(len(t) for t in found.tables)
    return (
        f"{PACKAGE}: {rows} rows of {', '.join(gpus)} under {', '.join(engines)}; "
        f"median |ln| {found.median:.3f}, p80 {found.p80:.3f}"
    )


def write(found: dict[str, dict[str, Fit]], links: list[str], residuals: list[str]) -> None:
    """Write the curves and their residuals."""
    lines = [
        "# Curves of kernels and collectives: see costs/kernels.py and costs/collectives.py for the parameters.",
        f"# Fitted on the public kernel tables of {PACKAGE} (Apache-2.0) by bench/fit/kernel_curves.py; how far they are",
        "# off by class, accelerator and engine: kernels-residuals.csv. Classes without measurements: bench/fit/assumed.toml.",
        'name = "kernels"',
        "",
    ]
    for kind, table in found.items():
        for tag, one in table.items():
            lines.append(f'[curves."{kind}"."{tag}"]')
            lines += [f"{name} = {value:g}" for name, value in one.parameters.items()]
            lines += [f"spread = {np.exp(one.p80) - 1:.2f}", f'source = "{source(one)}"', ""]
    lines += links
    lines.append((Path(__file__).parent / "assumed.toml").read_text())
    folder = Path(str(files("sizewell.catalog") / "data" / "calibrations"))
    (folder / "kernels.toml").write_text("\n".join(lines))
    (folder / "kernels-residuals.csv").write_text("\n".join(residuals) + "\n")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    points = list(measured(root))
    print(len(points), "tables", sum(map(len, points)), "rows", flush=True)
    fitted = curves(points)
    write(fitted, link_curves(root), residual_rows(points, fitted) + link_residuals(root))
