"""`sizewell calibrate`: your own measurements, turned into a calibration of your machine."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import print_json, show, table, talk
from sizewell.specs.errors import BadInputError, MissedGateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sizewell.calibrator.beliefs import Belief
    from sizewell.calibrator.fit import Evidence
    from sizewell.calibrator.own import Own
    from sizewell.cli import calibrate_figures, calibrate_runs
    from sizewell.planner.measured_point import PointRow
    from sizewell.planner.point_cases import PointCase
    from sizewell.specs.calibration import Efficiencies

FITTED = (
    "tpot_mean_s", "itl_mean_s", "ttft_mean_s", "e2e_mean_s", "decode_tokens_per_s", "prefill_tokens_per_s",
    "output_tokens_per_s", "output_tokens_per_s_per_gpu", "requests_per_s",
)  # fmt: skip
"""Metrics a calibration is fitted to; tails follow from the simulation."""


@click.command("calibrate", cls=OnceCommand)
@click.argument("measured", nargs=-1, metavar="FILE... | RUN...")
@click.option("--from-runs", is_flag=True, help="Take kept runs by number [all of the last one's machine and engine].")
@click.option("--save", metavar="NAME", help="Keep it in your catalogue; every command then uses it.")
@as_json()
@click.pass_context
def command(ctx: click.Context, measured: tuple[str, ...], from_runs: bool, save: str | None, as_json: bool) -> None:
    """Fit the efficiencies of your machine to measured points or machine figures in files, or to runs that were kept.

    FILEs are CSV tables of measured points (docs/accuracy.md), or what `sizewell measure` wrote (docs/measure.md), as
    their headers say. RUNs are numbers of `sizewell runs list`, kept by `sizewell bench --keep`. A third of the figures
    is held back; a calibration that does not predict those better than the one in force is not saved (exit code 4).
    """
    if save is not None:
        _check_name(save)
    if from_runs:
        fit = _from_runs(measured, save)
    else:
        files = _files(ctx, measured)
        fit = _from_figures(files, save) if _hold_figures(files) else _from_points(files, save)
    if as_json:
        print_json("calibrate", fit.document)
    else:
        fit.show()
    if save is not None:
        _save(fit.own, save, fit.source)
        if fit.kept:
            _keep(save, fit.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit with what is told beside it, the command it came from, and whether records keep it."""

    own: Own
    source: str
    kept: bool
    about: calibrate_figures.About | calibrate_runs.About | None = None

    @property
    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        told = self.about.document if self.about else {}
        return {"about": None, "runs": [], "fits": [], "rows": [], "kinds": [], **told, **_document(self.own)}

    def show(self) -> None:
        """Print its tables."""
        if self.about:
            self.about.show()
        _show(self.own)


def _check_name(name: str) -> None:
    """Refuse a name before minutes are spent on what could not be saved."""
    from sizewell.catalog.calibrations import check_name

    check_name(name)


def _from_runs(numbers: Sequence[str], save: str | None) -> Fit:
    from sizewell.cli import calibrate_runs

    own, about = calibrate_runs.fitted(numbers, save)
    source = f"sizewell calibrate --from-runs {' '.join(map(str, about.runs))}"
    return Fit(own=own, source=source, kept=True, about=about)


def _from_figures(files: Sequence[Path], save: str | None) -> Fit:
    from sizewell.cli import calibrate_figures

    own, about = calibrate_figures.fitted(files, save)
    return Fit(own=own, source=_said(files), kept=True, about=about)


def _from_points(files: Sequence[Path], save: str | None) -> Fit:
    return Fit(own=_fitted(files, save), source=_said(files), kept=False)


def _said(files: Sequence[Path]) -> str:
    return f"sizewell calibrate {' '.join(file.name for file in files)}"


def _hold_figures(files: Sequence[Path]) -> bool:
    """Return whether files hold machine figures, False where points; raises BadInputError for some of each."""
    from sizewell.catalog.measurements import file_kind

    try:
        kinds = {file_kind(file): file for file in files}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"cannot be read as a table: {error}") from error
    if "memory" in kinds:
        raise BadInputError(f"{kinds['memory']}: memory of start-up logs is validated, not calibrated")
    if len(kinds) > 1:
        raise BadInputError(
            f"{kinds['figures']} holds machine figures and {kinds['points']} measured points: calibrate the figures "
            "first, save them, then the points on top"
        )
    return "figures" in kinds


def _keep(name: str, document: Mapping[str, object]) -> None:
    """Keep a saved calibration in the records too."""
    from sizewell.cli.output import json_ready
    from sizewell.records.store import Records

    number = Records.usual().keep("calibrations", name, json_ready(document))
    talk(f"kept as calibration {number}; plan, explain and simulate use it from now on")


def _files(ctx: click.Context, named: Sequence[str]) -> list[Path]:
    if not named:
        raise BadInputError("say what was measured: files of points or of machine figures, or --from-runs")
    kind = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
    return [Path(kind.convert(name, None, ctx)) for name in named]


def _fitted(files: Sequence[Path], save: str | None) -> Own:
    from sizewell.calibrator.own import FEWEST, fit_own, own_beliefs
    from sizewell.catalog.calibrations import read_efficiencies

    cases = [case for case in _cases(files) if _metrics(case)]
    observe = partial(_evidence, cases, read_efficiencies(without=save))
    beliefs = own_beliefs([tag for case in cases for tag in case.all_tags])
    count = sum(len(_metrics(case)) for case in cases)
    if count < FEWEST:
        raise BadInputError(f"{count} figures to fit: give at least {FEWEST}, so that some can be held back")
    return fit_own(lambda logs, _: observe(beliefs, logs), beliefs)


def _cases(files: Sequence[Path]) -> list[PointCase]:
    from sizewell.catalog.point_facts import point_facts
    from sizewell.catalog.points import read_point_rows
    from sizewell.planner.point_cases import point_case

    rows = [row for file in files for row in read_point_rows(file) if row.trust != "drop"]
    unsent = [row.point_id for row in rows if not _states_load(row)]
    if unsent:
        unsaid = f"row {unsent[0]}: state its load (closed_loop with concurrency, open_loop, offline …)"
        if len(unsent) == len(rows):
            raise BadInputError(unsaid)
        talk(f"{len(unsent)} of {len(rows)} rows left out, the first of them: {unsaid}")
    return [point_case(row, point_facts(row)) for row in rows if _states_load(row)]


def _states_load(row: PointRow) -> bool:
    return bool(row.load) and (row.load != "closed_loop" or bool(row.concurrency))


def _metrics(case: PointCase) -> list[str]:
    from sizewell.planner.validate_points import is_comparable

    return [m for m, v in case.row.metrics.items() if m in FITTED and v > 0 and is_comparable(m, case)]


def _evidence(
    cases: Sequence[PointCase], reference: Efficiencies, beliefs: Sequence[Belief], logs: NDArray[np.float64]
) -> Evidence:
    import numpy as np

    from sizewell.calibrator.evidence import answers
    from sizewell.calibrator.fit import Evidence
    from sizewell.planner.validate_points import log_values

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

    if not own.is_explained:
        raise MissedGateError(
            f"not saved: held-back figures stay {own.after_fraction:.1%} off, more than a machine explains: what was "
            "served is not what was stated (its flags, what else ran); leave out the runs that lie far off"
        )
    if not own.improves:
        chance = "no more than chance gives; " if own.after_fraction < own.before_fraction else ""
        raise MissedGateError(
            f"not saved: held-back figures are predicted {own.after_fraction:.1%} off, {own.before_fraction:.1%} "
            f"before; {chance}measure more, or more varied, loads"
        )
    source = f"{measured}: {own.figures} figures"
    scales: dict[str, dict[str, Factor]] = {}
    for belief, log, spread, known in _lines(own):
        if known:
            scales.setdefault(belief.tag, {})[belief.factor] = Factor(
                value=math.exp(log), spread=math.expm1(spread), source=source
            )
    talk(f"wrote {save_scales(name, scales)}")
