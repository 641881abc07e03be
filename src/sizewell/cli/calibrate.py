"""`sizewell calibrate`: your own measurements, turned into a calibration of your machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import as_json
from sizewell.cli.output import print_json, show, table, talk
from sizewell.specs.errors import BadInputError, MissedGateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sizewell.calibrator.beliefs import Belief
    from sizewell.calibrator.fit import Evidence
    from sizewell.calibrator.own import Own
    from sizewell.planner.point_cases import PointCase

FITTED = (
    "tpot_mean_s", "itl_mean_s", "ttft_mean_s", "e2e_mean_s", "decode_tokens_per_s", "prefill_tokens_per_s",
    "output_tokens_per_s", "output_tokens_per_s_per_gpu", "requests_per_s",
)  # fmt: skip
"""Metrics a calibration is fitted to; tails follow from the simulation."""


@click.command("calibrate")
@click.argument("measured", nargs=-1, metavar="FILE... | RUN...")
@click.option("--from-runs", is_flag=True, help="Take kept runs by number [all of the last one's machine and engine].")
@click.option("--save", metavar="NAME", help="Keep it in your catalogue; every command then uses it.")
@as_json()
@click.pass_context
def command(ctx: click.Context, measured: tuple[str, ...], from_runs: bool, save: str | None, as_json: bool) -> None:
    """Fit the efficiencies of your machine to measured points in files, or to runs that were kept.

    FILEs are CSV tables in the format of measured points (docs/accuracy.md); RUNs are numbers of `sizewell runs list`,
    kept by `sizewell bench --keep` (docs/closed-loop.md). A third of the figures is held back; a calibration that does
    not predict those better than the one in force is not saved (exit code 4).
    """
    if from_runs:
        from sizewell.cli import calibrate_runs

        own, about = calibrate_runs.fitted(measured, save)
        told: dict[str, object] = {"about": about.machine, "runs": about.runs}
        source = f"sizewell calibrate --from-runs {' '.join(map(str, about.runs))}"
    else:
        files = _files(ctx, measured)
        own, told = _fitted(files), {"about": None, "runs": []}
        source = f"sizewell calibrate {' '.join(file.name for file in files)}"
    document = {**told, **_document(own)}
    if as_json:
        print_json("calibrate", document)
    else:
        _show(own)
    if save is not None:
        _save(own, save, source)
        if from_runs:
            calibrate_runs.keep(save, document)


def _files(ctx: click.Context, named: Sequence[str]) -> list[Path]:
    if not named:
        raise BadInputError("say what was measured: files of points, or --from-runs")
    kind = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
    return [Path(kind.convert(name, None, ctx)) for name in named]


def _fitted(files: Sequence[Path]) -> Own:
    from sizewell.calibrator.own import FEWEST, fit_own, own_beliefs

    cases = _cases(files)
    observe = partial(_evidence, cases)
    beliefs = own_beliefs([tag for case in cases for tag in case.all_tags])
    count = sum(len(_metrics(case)) for case in cases)
    if count < FEWEST:
        raise BadInputError(f"{count} figures to fit: give at least {FEWEST}, so that some can be held back")
    return fit_own(lambda logs: observe(beliefs, logs), beliefs)


def _cases(files: Sequence[Path]) -> list[PointCase]:
    from sizewell.catalog.point_facts import point_facts
    from sizewell.catalog.points import read_point_rows
    from sizewell.planner.point_cases import point_case

    rows = [row for file in files for row in read_point_rows(file) if row.trust != "drop"]
    unsent = [row.point_id for row in rows if not row.load or not (row.load != "closed_loop" or row.concurrency)]
    if unsent:
        raise BadInputError(f"row {unsent[0]}: state its load (closed_loop with concurrency, open_loop, offline …)")
    return [point_case(row, point_facts(row)) for row in rows]


def _metrics(case: PointCase) -> list[str]:
    from sizewell.planner.validate_points import is_comparable

    return [m for m, v in case.row.metrics.items() if m in FITTED and v > 0 and is_comparable(m, case)]


def _evidence(cases: Sequence[PointCase], beliefs: Sequence[Belief], logs: NDArray[np.float64]) -> Evidence:
    import numpy as np

    from sizewell.calibrator.evidence import answers
    from sizewell.calibrator.fit import Evidence
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.planner.validate_points import log_values

    reference = read_efficiencies()
    errors: list[float] = []
    slopes: list[NDArray[np.float64]] = []
    for case in cases:
        metrics = _metrics(case)
        predict = partial(log_values, case, metrics, reference.curves)
        found, answer = answers(predict, reference, beliefs, logs, case.all_tags)
        errors += [float(value) - math.log(case.row.metrics[m]) for value, m in zip(found, metrics, strict=True)]
        slopes += list(answer)
    alike = np.zeros(len(errors), dtype=np.int64)
    return Evidence(errors=np.array(errors), slopes=np.array(slopes), weights=np.ones(len(errors)), group=alike)


def _document(own: Own) -> dict[str, object]:
    return {
        "used": own.used,
        "held_back": own.held_back,
        "before_fraction": own.before_fraction,
        "after_fraction": own.after_fraction,
        "improves": own.improves,
        "factors": [
            {
                "tag": belief.tag,
                "factor": belief.factor,
                "scale": math.exp(log),
                "spread_fraction": math.expm1(spread),
                "determined": known,
                "why": own.reasons[at],
            }
            for at, (belief, log, spread, known) in enumerate(_lines(own))
        ],
    }


def _lines(own: Own) -> list[tuple[Belief, float, float, bool]]:
    return [
        (belief, float(log), float(spread), known)
        for belief, log, spread, known in zip(own.beliefs, own.fitted.logs, own.fitted.spreads, own.known, strict=True)
    ]


def _show(own: Own) -> None:
    rows = [
        (belief.tag, belief.factor, f"× {math.exp(log):.3g}" if known else "as shipped",
         f"± {math.expm1(spread):.0%}" if known else own.reasons[at])
        for at, (belief, log, spread, known) in enumerate(_lines(own))
    ]  # fmt: skip
    show(table("What your figures say", ("on", "factor", ">scale", "spread"), rows))
    show(
        f"{own.held_back} held-back figures: mean error {own.before_fraction:.1%} before, "
        f"{own.after_fraction:.1%} calibrated on the other {own.used}"
    )


def _save(own: Own, name: str, measured: str) -> None:
    from sizewell.catalog.calibrations import save_scales
    from sizewell.specs.calibration import Factor

    if not own.improves:
        raise MissedGateError(
            f"not saved: held-back figures are predicted {own.after_fraction:.1%} off, {own.before_fraction:.1%} "
            "before; measure more, or more varied, loads"
        )
    source = f"{measured}: {own.used + own.held_back} figures"
    scales: dict[str, dict[str, Factor]] = {}
    for belief, log, spread, known in _lines(own):
        if known:
            scales.setdefault(belief.tag, {})[belief.factor] = Factor(
                value=math.exp(log), spread=math.expm1(spread), source=source
            )
    talk(f"wrote {save_scales(name, scales)}")
