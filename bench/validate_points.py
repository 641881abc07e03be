"""Score the cost model on published points: `python bench/validate_points.py [points.csv] [--leave-out group]`.

Prints, per dataset × GPU × dense/MoE × load, median and mean absolute error of TPOT, TTFT and throughput, bias,
coverage of the interval, and beside them the TPOT error of a roofline of four constants (75 % of bandwidth, 1 ms a
step, 0.06 ms a layer, 0.03 ms more a layer when sharded).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.models import read_model
from sizewell.catalog.point_facts import point_facts
from sizewell.catalog.points import read_point_rows
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_cases import PointCase, point_case
from sizewell.planner.validate_points import PointPrediction, predict_point
from sizewell.specs.errors import SizewellError

DEFAULT = Path(__file__).parents[1].parent / "shared" / "data" / "points-dev.csv"
SPEED = ("tpot_mean_s", "itl_mean_s", "decode_tokens_per_s")
FIRST = ("ttft_mean_s",)
THROUGHPUT = ("output_tokens_per_s", "output_tokens_per_s_per_gpu", "requests_per_s")
RUN = ("e2e_mean_s",)
FOLDS = 4


def cases(rows: Iterable[PointRow]) -> tuple[list[PointCase], dict[str, str]]:
    """Return the rows that can be priced and why the others cannot."""
    ready, refused = [], {}
    for row in rows:
        try:
            ready.append(point_case(row, point_facts(row)))
        except SizewellError as error:
            refused[row.point_id] = str(error)
    return ready, refused


def four_constants(case: PointCase) -> float:
    """Return the TPOT of the four-constant roofline."""
    pool = case.choices[0][-1]
    work, layers = pool.work, 0.0
    layers = sum(o.repeats for o in work.decode.operators if o.name == "norms and residuals")
    read = sum(o.hbm_bytes * o.repeats for o in work.decode.operators if "norm" not in o.name)
    users = (case.row.concurrency or case.max_sequences) / pool.layout.replicas
    users = min(users, case.max_sequences, max(1.0, pool.kv_tokens / case.lengths.decode_context_tokens))
    size = float(np.interp(users, work.sequences, read)) / pool.layout.cut.pp
    gpu = case.machines.clusters[0].gpu
    sharded = 0.03e-3 if pool.layout.cut.tp * pool.layout.cut.dp > 1 else 0.0
    step_s = pool.layout.cut.pp * size / (0.75 * gpu.bytes_per_s) + 1e-3 + layers * (0.06e-3 + sharded)
    return step_s / sum(0.75**n for n in range(work.policy.drafts + 1))


def group_of(case: PointCase, dense: dict[str, str]) -> tuple[str, str, str, str]:
    """Return the cell a row is scored in."""
    row = case.row
    return row.dataset, row.gpu, dense[row.model], row.load or "stages"


def error(value: float, measured: float, metric: str) -> float:
    """Return the signed relative error; of speeds the error of their inverse, so that slow is positive."""
    return value / measured - 1


def report(scored: list[tuple[PointCase, tuple[PointPrediction, ...]]], dense: dict[str, str]) -> None:
    """Print one line a cell and the means over data sets."""
    cells: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case, answers in scored:
        if case.row.trust == "drop":
            continue
        cell = cells[group_of(case, dense)]
        for answer in answers:
            for label, metrics in (("speed", SPEED), ("first", FIRST), ("rate", THROUGHPUT), ("run", RUN)):
                if answer.metric in metrics and answer.predicted is not None and answer.measured > 0:
                    cell[label].append(error(answer.predicted.value, answer.measured, answer.metric))
                    cell[label + " covered"].append(
                        float(answer.predicted.low <= answer.measured <= answer.predicted.high)
                    )
                    if label == "speed":
                        simple = four_constants(case)
                        simple = 1 / simple if answer.metric == "decode_tokens_per_s" else simple
                        cell["simple"].append(simple / answer.measured - 1)
    _print(cells)


def _print(cells: dict[tuple[str, ...], dict[str, list[float]]]) -> None:
    print(
        f"{'dataset':26}{'gpu':20}{'kind':6}{'load':13}|{'TPOT n':>7}{'med':>6}{'mean':>6}{'bias':>6}{'cov':>5}"
        f"{'4-const':>12}|{'TTFT n':>7}{'med':>6}{'mean':>6}{'bias':>6}{'cov':>5}|{'rate n':>7}{'med':>6}{'mean':>6}{'bias':>6}{'cov':>5}|{'E2E n':>6}{'med':>6}"
    )
    by_set: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, cell in sorted(cells.items()):
        print(f"{key[0]:26}{key[1]:20}{key[2]:6}{key[3]:13}" + _line(cell))
        for name, values in cell.items():
            by_set[key[0]][name] += values
    print()
    for name, cell in by_set.items():
        print(f"{name:65}" + _line(cell))
    print()
    for label in ("speed", "simple", "first", "rate", "run"):
        medians = [np.median(np.abs(c[label])) for c in by_set.values() if c[label]]
        means = [np.mean(np.abs(c[label])) for c in by_set.values() if c[label]]
        covered = [np.mean(c[label + " covered"]) for c in by_set.values() if c[label + " covered"]]
        print(
            f"{label:8} data sets {len(medians):3}  median APE {np.mean(medians):6.1%}  mean APE {np.mean(means):6.1%}"
            + (f"  coverage {np.mean(covered):6.1%}" if covered else "")
        )


def _line(cell: dict[str, list[float]]) -> str:
    def stats(label: str) -> str:
        values = np.array(cell[label])
        if not len(values):
            return f"{'':30}"
        size = np.abs(values)
        return (
            f"{len(values):7}{np.median(size):6.0%}{size.mean():6.0%}{np.median(values):+6.0%}"
            f"{np.mean(cell[label + ' covered']):5.0%}"
        )

    simple = np.abs(cell["simple"])
    beside = f"{np.median(simple):6.0%}{simple.mean():6.0%}" if len(simple) else " " * 12
    run = np.abs(cell["run"])
    last = f"{len(run):6}{np.median(run):6.0%}" if len(run) else ""
    return f"|{stats('speed')}{beside}|{stats('first')}|{stats('rate')}|{last}"


def folds(ready: list[PointCase], by: str) -> list[list[PointCase]]:
    """Return the cases in parts to leave out: one for each value of a column, FOLDS of whole groups for `group`.

    A group is an accelerator × model × engine; `gpu=h200-sxm-141gb` leaves out that one value only.
    """
    column, _, only = by.partition("=")
    names = ("gpu", "model", "engine") if column == "group" else (column,)
    held: dict[tuple[str, ...], list[PointCase]] = defaultdict(list)
    for case in ready:
        held[tuple(str(getattr(case.row, name)) for name in names)].append(case)
    if column != "group":
        return [cases for key, cases in sorted(held.items()) if not only or key == (only,)]
    keys = sorted(held)
    return [[case for key in keys[fold::FOLDS] for case in held[key]] for fold in range(FOLDS)]


def left_out(ready: list[PointCase], by: str, rounds: int) -> list[tuple[PointCase, tuple[PointPrediction, ...]]]:
    """Return every case as predicted by a calibration fitted from scratch without its fold."""
    from fit_default_calibration import descend, sample, start, with_intervals

    scored = []
    for fold in folds(ready, by):
        hidden = {id(case) for case in fold}
        rest = [case for case in ready if id(case) not in hidden]
        fitted = with_intervals(rest, descend(sample(rest), start(), rounds))
        scored += [(case, predict_point(case, fitted)) for case in fold]
    return scored


def main(arguments: argparse.Namespace) -> None:
    """Read, predict, print."""
    rows = read_point_rows(arguments.points)
    begun = time.perf_counter()
    ready, refused = cases(rows)
    dense = {case.row.model: "moe" if read_model(case.row.model).is_moe else "dense" for case in ready}
    prepared = time.perf_counter()
    if arguments.leave_out:
        scored = left_out(ready, arguments.leave_out, arguments.rounds)
    else:
        efficiencies = read_efficiencies()
        scored = [(case, predict_point(case, efficiencies)) for case in ready]
    done = time.perf_counter()
    report(scored, dense)
    answered = sum(any(a.predicted for a in answers) for _, answers in scored)
    print(
        f"\nrows {len(rows)}, answered {answered}, with a reason instead {len(scored) - answered + len(refused)}; "
        f"work counted in {prepared - begun:.1f} s, priced in {done - prepared:.1f} s"
    )
    for reason in sorted(set(refused.values())):
        print(f"  {sum(r == reason for r in refused.values()):4} × {reason}")


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--leave-out", metavar="group|gpu|model|engine|dataset[=value]", help="refit without, score on")
    parser.add_argument("--rounds", type=int, default=2, help="passes of each refit")
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
