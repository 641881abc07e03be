"""What `sizewell calibrate FIGURES.csv` is fitted to: kernels and messages that `sizewell measure` timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sizewell.cli.output import show, table, talk
from sizewell.specs.errors import BadInputError, UnknownNameError

if TYPE_CHECKING:
    from sizewell.calibrator.own import Own
    from sizewell.calibrator.side_by_side import Reach
    from sizewell.specs.calibration import Efficiencies
    from sizewell.specs.hardware import ClusterSpec
    from sizewell.specs.machine_figure import MachineFigure
    from sizewell.specs.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure by the number of its row, and why it is not fitted: empty where it is."""

    name: str
    figure: MachineFigure
    why: str
    held_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Figures of one kind, op and type: whether they are fitted, and predictions over them before and after."""

    before: Reach
    after: Reach
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The machine of some figures, their rows, and what becomes of each kind."""

    machine: str
    rows: tuple[Row, ...]
    lots: tuple[Lot, ...]

    @property
    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "about": self.machine,
            "rows": [{"row": row.name, "held_back": row.held_back} for row in self.rows if not row.why],
            "kinds": [
                {
                    "kind": lot.before.kind, "op": lot.before.op, "dtype": lot.before.dtype,
                    "figures": lot.before.figures, "fitted": not lot.why, "why": lot.why,
                    "before_ratio": lot.before.median_ratio, "after_ratio": lot.after.median_ratio,
                }
                for lot in self.lots
            ],
        }  # fmt: skip

    def show(self) -> None:
        """Print what becomes of each kind of figure."""
        rows = [
            (lot.before.kind, lot.before.op, lot.before.dtype, str(lot.before.figures), _ratio(lot.before),
             _ratio(lot.after), lot.why or "fitted")
            for lot in self.lots
        ]  # fmt: skip
        heads = ("kind", "op", "|type", ">n", ">before", ">after", "")
        show(table(f"{self.machine}: predicted over measured time, median", heads, rows))


def fitted(files: Sequence[Path], save: str | None) -> tuple[Own, About]:
    """Return what figures say of their one machine, beside all calibrations in force but the one written again.

    Raises BadInputError for figures of several machines or of one the catalogue lacks, for too few, and, where they
    are to be saved, for a machine that another calibration speaks of.
    """
    from sizewell.calibrator.measured_figures import ASKED, FigureEvidence, figure_beliefs, figures_apart
    from sizewell.calibrator.own import fit_own
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.models import read_model

    named = _named(files)
    place = _place([figure for _, figure in named])
    reference = read_efficiencies(without=save)
    if save is not None:
        _check_alone(reference, place.gpu.key)
    rows = _rows(named, place)
    used = [row for row in rows if not row.why]
    evidence = FigureEvidence(figures=tuple(row.figure for row in used), cluster=place, reference=reference)
    beliefs = figure_beliefs(place)
    apart = figures_apart([row.figure.probe for row in used])
    own = fit_own(lambda logs, _: evidence.observe(beliefs, logs), beliefs, apart, ASKED)
    models = {name: read_model(name) for name in {row.figure.probe.model for row in rows} if name}
    lots = _lots(rows, place, (reference, _with(reference, own)), models)
    return own, About(machine=place.gpu.key, rows=rows, lots=lots)


def _ratio(lot: Reach) -> str:
    return "–" if lot.median_ratio is None else f"{lot.median_ratio:.2f}"


def _named(files: Sequence[Path]) -> list[tuple[str, MachineFigure]]:
    from sizewell.catalog.figures_file import read_figures

    return [
        (f"{file.name} {number}: {figure.probe}", figure)
        for file in files
        for number, figure in enumerate(read_figures(file), start=1)
    ]


def _place(figures: Sequence[MachineFigure]) -> ClusterSpec:
    from sizewell.catalog.hardware import cluster

    machines = tuple(dict.fromkeys(figure.machine for figure in figures))
    if len(machines) != 1:
        found = f"figures of {' and '.join(machines)}" if machines else "no figures"
        raise BadInputError(f"{found}: calibrate one machine at a time")
    for remark in dict.fromkeys(figure.remark for figure in figures if figure.remark):
        talk(f"{machines[0]}: {remark}")
    probes = [figure.probe for figure in figures]
    ranks = max(2 if probe.op == "device-to-device" else probe.shape.get("ranks", 1) for probe in probes)
    try:
        return cluster(machines[0], gpus_per_node=ranks)
    except UnknownNameError:
        raise BadInputError(
            f"the catalogue has no {machines[0]}: `sizewell measure --save` describes it as it measures; its page ends "
            "with that file too"
        ) from None


def _check_alone(reference: Efficiencies, key: str) -> None:
    """Refuse to change kernels under a calibration that was fitted on top of them: it would correct them twice."""
    others = sorted(tag for tag in reference.scales if f"gpu:{key}" in tag.split("+"))
    if others:
        raise BadInputError(
            f"a calibration of {others[0]} is in force ({reference.name}) and would correct the same twice: remove it "
            "from your catalogue, save this, then calibrate from runs or points again"
        )


def _rows(named: Sequence[tuple[str, MachineFigure]], place: ClusterSpec) -> tuple[Row, ...]:
    from dataclasses import replace

    from sizewell.calibrator.measured_figures import figures_apart, why_no_evidence
    from sizewell.calibrator.own import FEWEST

    rows = [Row(name=name, figure=each, why=why_no_evidence(each.probe, place.gpu)) for name, each in named]
    used = [row.figure.probe for row in rows if not row.why]
    apart = figures_apart(used).sum(axis=0)
    if len(used) < FEWEST or not apart.any():
        raise BadInputError(
            f"{len(used)} figures to fit, {int(apart.sum())} of them to hold back: measure {FEWEST} or more of gemm, "
            "copy or collective, of several matrices or ways"
        )
    flags = iter(apart)
    return tuple(row if row.why else replace(row, held_back=bool(next(flags))) for row in rows)


def _with(reference: Efficiencies, own: Own) -> Efficiencies:
    from sizewell.calibrator.beliefs import revised

    return revised(reference, own.beliefs, own.fitted.logs, own.fitted.spreads, "fitted")


def _lots(
    rows: Sequence[Row], place: ClusterSpec, both: tuple[Efficiencies, Efficiencies], models: Mapping[str, ModelSpec]
) -> tuple[Lot, ...]:
    from sizewell.calibrator.side_by_side import reach, side_by_side

    figures = [row.figure for row in rows]
    before, after = (reach(side_by_side(figures, place, each, models)) for each in both)
    why = {(row.figure.probe.kind, row.figure.probe.op, row.figure.probe.dtype): row.why for row in rows}
    return tuple(
        Lot(before=one, after=other, why=why[one.kind, one.op, one.dtype])
        for one, other in zip(before, after, strict=True)
    )
