"""Published points as evidence for a fit: what is compared, how much each row weighs, what is believed beforehand."""

from __future__ import annotations

import math
import pickle
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from fit_ranges import beliefs, start
from spreads import Residuals, with_spreads

from sizewell.calibrator.beliefs import Belief, Floats, factor_arrays, revised
from sizewell.calibrator.evidence import answers
from sizewell.calibrator.fit import MOST, Evidence, Fitted, left_out, step
from sizewell.catalog.point_facts import point_facts
from sizewell.costs.machines import Reached
from sizewell.planner.measured_point import PointRow
from sizewell.planner.played_points import Player
from sizewell.planner.point_cases import PointCase, point_case
from sizewell.planner.validate_points import is_comparable, log_values, played_value
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import SizewellError

DEFAULT = Path(__file__).parents[1].parent / "shared" / "data" / "points-dev.csv"
KINDS = {
    "speed": ("tpot_mean_s", "itl_mean_s", "decode_tokens_per_s"),
    "first": ("ttft_mean_s",),
    "prompt": ("prefill_tokens_per_s",),
    "rate": ("output_tokens_per_s", "output_tokens_per_s_per_gpu", "requests_per_s"),
    "run": ("e2e_mean_s",),
}
KIND_OF = {metric: kind for kind, metrics in KINDS.items() for metric in metrics}
WEIGHT = {"speed": 1.0, "rate": 0.7, "run": 0.7, "first": 0.5, "prompt": 0.5}
TRUST = {"A": 1.0, "B": 0.7, "C": 0.4}
DOUBTED = {("gpustack_perflab", "h100-sxm-80gb"): 0.1}
"""Cards of data sets that contradict all others, and how much they count in a fit. Prompts and batches on this one's
H100 take twice as long as on everybody else's, whatever the engine, single streams do not: a card held at half its
clock; and its rows of GLM-4.5-Air on H100 repeat those on A100 digit by digit."""
ROWS_OF_A_CELL = 6.0
"""Rows of one data set, group, format and load say much the same: more of them count no more than so many."""
ROWS_OF_A_SET = 20.0
TURNS = ((False, 1.0), (False, 1.0), (True, 1.0), (True, 1.6), (True, 1.6), (True, 1.6), (True, 1.0))
"""Turns of the fit, without and with simulation, and how much of a step each goes: the first ones find the
neighbourhood; slopes of the closed form make later steps too short, and fewer of them end before the fit has settled."""
ROWS_FITTED = 5
"""Rows of a cell that are fitted; all are scored."""
SOURCE = "bench/fit_default_calibration.py, all data sets weighing the same: shared/data/points-dev.csv, 2026-11"


@dataclass(frozen=True, slots=True)
class Target:
    """One measured value that is fitted and scored."""

    case: int
    metric: str
    kind: str
    measured: float


def cases(rows: Iterable[PointRow]) -> tuple[list[PointCase], dict[str, str]]:
    """Return the rows that can be priced and why the others cannot."""
    ready, refused = [], {}
    for row in rows:
        try:
            ready.append(point_case(row, point_facts(row)))
        except SizewellError as error:
            refused[row.point_id] = str(error)
    return ready, refused


def targets(ready: Sequence[PointCase]) -> list[Target]:
    """Return every value that is fitted and scored, in the order of the cases."""
    return [
        Target(at, metric, KIND_OF[metric], measured)
        for at, case in enumerate(ready)
        for metric, measured in case.row.metrics.items()
        if metric in KIND_OF and measured > 0 and case.row.trust != "drop" and is_comparable(metric, case)
    ]


def group_of(case: PointCase) -> tuple[str, str, str]:
    """Return the group that is left out as a whole."""
    return case.row.gpu, case.row.model, case.row.engine


LabelOf = Callable[[PointCase], Hashable]
LEFT_OUT: dict[str, LabelOf] = {
    "group": group_of,
    "data set": lambda case: case.row.dataset,
    "accelerator": lambda case: case.row.gpu,
    "model": lambda case: case.row.model,
    "engine": lambda case: case.row.engine,
}
"""What may be left out at once: a group as a rule; the others are harder, as rows of strangers are."""


def weights(ready: Sequence[PointCase], wanted: Sequence[Target]) -> Floats:
    """Return the weight of each value: data sets alike, a cell of many like rows no more than a few."""
    rows = [ready[t.case].row for t in wanted]
    cells = [
        (r.dataset, r.gpu, r.model, r.engine, r.load, r.weight_format, t.metric)
        for r, t in zip(rows, wanted, strict=True)
    ]
    often = Counter(cells)
    single = [min(1.0, ROWS_OF_A_CELL / often[cell]) for cell in cells]
    sets: dict[tuple[str, str], float] = defaultdict(float)
    for row, target, weight in zip(rows, wanted, single, strict=True):
        sets[row.dataset, target.kind] += weight
    return np.array(
        [
            weight
            * min(1.0, ROWS_OF_A_SET / sets[row.dataset, target.kind])
            * WEIGHT[target.kind]
            * TRUST[row.trust[:1]]
            * DOUBTED.get((row.dataset, row.gpu), 1.0)
            for row, target, weight in zip(rows, wanted, single, strict=True)
        ]
    )


def sample(ready: Sequence[PointCase]) -> list[PointCase]:
    """Return at most ROWS_FITTED rows of each data set, group, load and format, always the same."""
    cells: dict[tuple[str, ...], list[PointCase]] = defaultdict(list)
    for case in ready:
        if case.row.trust != "drop":
            cells[case.row.dataset, *group_of(case), case.row.load, case.row.weight_format].append(case)
    pick = random.Random(0)
    return [case for cell in cells.values() for case in pick.sample(cell, min(len(cell), ROWS_FITTED))]


def evidence(ready: Sequence[PointCase], known: Sequence[Belief], logs: Floats, *, play: bool) -> Evidence:
    """Return errors and slopes of all values at some multipliers.

    With `play` loads that can be sent are simulated; their slopes are those of the closed form, which is smooth.
    """
    wanted, reference, player = targets(ready), start(), Player() if play else None
    groups = {group: at for at, group in enumerate(sorted({group_of(case) for case in ready}))}
    by_case: dict[int, list[Target]] = defaultdict(list)
    for target in wanted:
        by_case[target.case].append(target)
    errors, slopes, group = [], [], []
    for at, some in by_case.items():
        case, names = ready[at], [t.metric for t in some]
        found, answer = answers(
            partial(log_values, case, names, reference.curves), reference, known, logs, case.all_tags
        )
        played = (player.play(case, reached(case, reference, known, logs)) if player else None) or {}
        best = [played_value(t.metric, case, played) or math.exp(value) for value, t in zip(found, some, strict=True)]
        errors += [math.log(value) - math.log(t.measured) for value, t in zip(best, some, strict=True)]
        slopes += list(answer)
        group += [groups[group_of(case)]] * len(some)
    return Evidence(
        errors=np.array(errors), slopes=np.array(slopes), weights=weights(ready, wanted), group=np.array(group)
    )


def reached(case: PointCase, reference: Efficiencies, known: Sequence[Belief], logs: Floats) -> Reached:
    """Return what a row's machine reaches at some multipliers."""
    factors = factor_arrays(reference, known, logs[None], case.all_tags)
    return Reached(machines=case.machines, factors=factors, shapes=reference.curves, tags=case.all_tags)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A fit to all rows, and what it takes to leave some of them out of it: errors and slopes at its end."""

    known: tuple[Belief, ...]
    fitted: Fitted
    last: Evidence
    left: Residuals

    @property
    def everything(self) -> Efficiencies:
        """The fit to all rows."""
        return self._with(self.fitted.logs, self.left)

    def without(self, label_of: LabelOf) -> dict[Hashable, Efficiencies]:
        """Return the fits without the rows of each label, whose intervals did not see them either."""
        labels = [label_of(case) for case in self.left.cases]
        place_of = {label: at for at, label in enumerate(dict.fromkeys(labels))}
        place = np.array([place_of[label] for label in labels])
        rest = left_out(replace(self.last, group=place), self.known, self.fitted.logs)
        return {label: self._with(rest[at], self.left.take(place != at)) for label, at in place_of.items()}

    def _with(self, logs: Floats, seen: Residuals) -> Efficiencies:
        return with_spreads(revised(start(), self.known, logs, self.fitted.spreads, SOURCE), seen)


def calibrate(ready: Sequence[PointCase]) -> Calibrated:
    """Return a fit to all rows."""
    chosen, known = sample(ready), beliefs()
    fitted = Fitted(logs=np.zeros(len(known)), spreads=np.array([b.spread for b in known]))
    last = evidence(chosen, known, fitted.logs, play=False)
    for play, stride in TURNS:
        found = step(last, known, fitted.logs)
        ahead = fitted.logs + stride * (found.logs - fitted.logs)
        fitted = replace(found, logs=np.clip(ahead, -MOST, MOST))
        last = evidence(chosen, known, fitted.logs, play=play)
    return Calibrated(known, fitted, last, _residuals(chosen, targets(chosen), known, fitted, last))


def calibrated(ready: Sequence[PointCase]) -> Calibrated:
    """Return `calibrate`, remembered in the temporary folder until a source, a curve or a row changes."""
    kept = Path(gettempdir()) / f"sizewell-calibrated-{_digest(ready)}.pickle"
    if kept.exists():
        found: Calibrated = pickle.loads(kept.read_bytes())
        return found
    found = calibrate(ready)
    kept.write_bytes(pickle.dumps(found))
    return found


def _digest(ready: Sequence[PointCase]) -> str:
    """Return a name for everything a calibration depends on."""
    here = Path(__file__).parent
    rooms = here.parent / "src" / "sizewell"
    sources = [here / name for name in ("evidence.py", "fit_ranges.py", "spreads.py")]
    sources.append(rooms / "catalog" / "data" / "calibrations" / "kernels.toml")
    for room in ("specs", "costs", "simulator", "planner"):
        sources += (rooms / room).rglob("*.py")
    digest = sha256(repr([case.row for case in ready]).encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _residuals(
    ready: Sequence[PointCase], wanted: Sequence[Target], known: Sequence[Belief], fitted: Fitted, last: Evidence
) -> Residuals:
    """Return errors without their group, accelerator and engine, to first order around the fit to all."""

    def errors(labels: Sequence[object]) -> Floats:
        _, place = np.unique([str(label) for label in labels], return_inverse=True)
        rest = left_out(replace(last, group=place), known, fitted.logs)
        found: Floats = last.errors + np.einsum("np,np->n", last.slopes, rest[place] - fitted.logs)
        return found

    of = [ready[target.case] for target in wanted]
    return Residuals(
        cases=tuple(of),
        kinds=np.array([target.kind for target in wanted]),
        group=errors([group_of(case) for case in of]),
        gpu=errors([case.row.gpu for case in of]),
        engine=errors([case.engine for case in of]),
    )
