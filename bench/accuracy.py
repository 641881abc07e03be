"""Score predictions on published points, leaving out one group at a time: `python bench/accuracy.py [points.csv]`.

A group is an accelerator × model × engine; the calibration a row is predicted with was fitted without its group. Data
sets weigh the same: their medians and means are averaged. Beside it stands the four-constant roofline on the same
rows. `--without "data set"` leaves out more at once, `--in-sample` scores the shipped calibration instead; `--worst N`
lists the groups furthest off.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evidence import DEFAULT, KIND_OF, KINDS, LEFT_OUT, calibrated, cases, group_of

from sizewell.calibrator.intervals import equal_shares, width
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.points import read_point_rows
from sizewell.planner.played_points import Player
from sizewell.planner.point_cases import PointCase
from sizewell.planner.validate_points import PointPrediction, predict_point

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
NAMES = {"speed": "TPOT / ITL", "first": "TTFT", "prompt": "prefill speed", "rate": "throughput", "run": "E2E"}


@dataclass(frozen=True, slots=True)
class Score:
    """One value of one row beside its prediction and the one of four constants, NaN where that says nothing."""

    case: PointCase
    metric: str
    kind: str
    measured: float
    predicted: float
    low: float
    high: float
    simple: float

    @property
    def error(self) -> float:
        """Signed relative error."""
        return self.predicted / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the measured value lies inside the interval."""
        return self.low <= self.measured <= self.high


def four_constants(case: PointCase) -> float:
    """Return the TPOT of the four-constant roofline."""
    pool = case.choices[0][-1]
    work = pool.work
    layers = sum(float(np.max(o.repeats)) for o in work.steps.operators if o.name == "norms and residuals")
    read = sum(o.hbm_bytes * o.repeats for o in work.steps.operators if "norm" not in o.name)[: len(work.sequences)]
    users = (case.row.concurrency or case.max_sequences) / pool.layout.replicas
    users = min(users, case.max_sequences, max(1.0, pool.kv_tokens / case.lengths.decode_context_tokens))
    size = float(np.interp(users, work.sequences, read)) / pool.layout.cut.pp
    gpu = case.machines.clusters[0].gpu
    sharded = 0.03e-3 if pool.layout.cut.tp * pool.layout.cut.dp > 1 else 0.0
    step_s = pool.layout.cut.pp * size / (0.75 * gpu.bytes_per_s) + 1e-3 + layers * (0.06e-3 + sharded)
    return step_s / sum(0.75**n for n in range(work.policy.drafts + 1))


def scores(case: PointCase, answers: Iterable[PointPrediction]) -> list[Score]:
    """Return the scored values of a row."""
    found = []
    for answer in answers:
        kind, figure = KIND_OF.get(answer.metric), answer.predicted
        if kind is None or figure is None or answer.measured <= 0 or case.row.trust == "drop":
            continue
        simple = four_constants(case) if kind == "speed" else math.nan
        simple = 1 / simple if answer.metric == "decode_tokens_per_s" else simple
        found.append(Score(case, answer.metric, kind, answer.measured, figure.value, figure.low, figure.high, simple))
    return found


def pooled_median(some: Sequence[Score], error: str = "error") -> float:
    """Return the median of all errors, every data set weighing the same."""
    sets = [score.case.row.dataset for score in some]
    return float(np.expm1(width(np.log1p(np.abs(_errors(some, error))), equal_shares(sets), 0.5)))


def balanced(some: Sequence[Score], error: str = "error") -> tuple[float, float, float, float]:
    """Return median, mean, bias and coverage, each the plain mean over data sets."""
    by_set: dict[str, list[Score]] = defaultdict(list)
    for score in some:
        by_set[score.case.row.dataset].append(score)
    each = [_errors(members, error) for members in by_set.values()]
    covered = [np.mean([score.covered for score in members]) for members in by_set.values()]
    return (
        float(np.mean([np.median(np.abs(errors)) for errors in each])),
        float(np.mean([np.mean(np.abs(errors)) for errors in each])),
        float(np.mean([np.median(errors) for errors in each])),
        float(np.mean(covered)),
    )


def _errors(some: Sequence[Score], error: str) -> list[float]:
    if error == "error":
        return [score.error for score in some]
    return [score.simple / score.measured - 1 for score in some]


def report(found: Sequence[Score], worst: int) -> None:
    """Print the figures that count, data sets, and the groups furthest off."""
    print(f"{'':34}{'n':>6}{'median':>8}{'mean':>8}{'bias':>8}{'in 80 %':>9}{'pooled median':>16}")
    for kind, name in NAMES.items():
        some = [score for score in found if score.kind == kind]
        _line(name, some)
        if kind == "speed":
            _line("  four-constant roofline", some, "simple")
    for kind, name in NAMES.items():
        print(f"\n{name} by data set")
        by_set: dict[str, list[Score]] = defaultdict(list)
        for score in found:
            if score.kind == kind:
                by_set[score.case.row.dataset].append(score)
        for label, some in sorted(by_set.items()):
            _line("  " + label, some)
    print("\nworst groups")
    groups: dict[tuple[str, ...], list[Score]] = defaultdict(list)
    for score in found:
        groups[(score.kind, *group_of(score.case))].append(score)
    far = sorted(groups.items(), key=lambda item: -float(np.median(np.abs(_errors(item[1], "error")))))
    for key, some in far[:worst]:
        _line("  " + " · ".join((NAMES[key[0]], *key[1:]))[:72], some, wide=76)


def _line(label: str, some: Sequence[Score], error: str = "error", wide: int = 34) -> None:
    median, mean, bias, covered = balanced(some, error)
    inside = f"{covered:9.0%}" if error == "error" else f"{'':9}"
    pooled = pooled_median(some, error)
    print(f"{label:{wide}}{len(some):6}{median:8.1%}{mean:8.1%}{bias:+8.1%}{inside}{pooled:16.1%}")


def in_sample(ready: Sequence[PointCase]) -> list[Score]:
    """Return every scored value, predicted by the shipped calibration."""
    player, shipped = Player(), read_efficiencies()
    return [score for case in ready for score in scores(case, predict_point(case, shipped, player))]


def predictions(ready: Sequence[PointCase], without: str) -> list[Score]:
    """Return every scored value, predicted without its group, or a larger part of the rows."""
    player, label_of = Player(), LEFT_OUT[without]
    apart = calibrated(ready).without(label_of)
    scored = [case for case in ready if case.row.trust != "drop"]
    return [score for case in scored for score in scores(case, predict_point(case, apart[label_of(case)], player))]


SLICES: dict[str, Callable[[Score], str]] = {
    "all": lambda score: "all data sets",
    "data set": lambda score: score.case.row.dataset,
    "accelerator": lambda score: score.case.row.gpu,
    "model family": lambda score: family(score.case.row.model),
    "engine": lambda score: score.case.row.engine,
    "load": lambda score: score.case.row.load or "stages of open arrivals",
    "group": lambda score: " · ".join(group_of(score.case)),
}


def family(model: str) -> str:
    """Return the family of a model by its name: `Llama-3.1`, `Qwen3`, `DeepSeek-R1`, `gpt-oss`."""
    name = model.rpartition("/")[2].removeprefix("Meta-")
    words = re.split(r"[-_]", name)
    return "-".join(words[:2]) if words[0] in {"Llama", "DeepSeek", "gpt", "GLM", "Mistral"} else words[0]


def sliced(found: Sequence[Score]) -> list[dict[str, object]]:
    """Return the errors of every slice and kind as plain rows."""
    rows: list[dict[str, object]] = []
    for by, label_of in SLICES.items():
        cells: dict[tuple[str, str], list[Score]] = defaultdict(list)
        for score in found:
            cells[score.kind, label_of(score)].append(score)
        for (kind, label), some in sorted(cells.items()):
            median, mean, bias, covered = balanced(some)
            row: dict[str, object] = {"by": by, "kind": kind, "label": label, "n": len(some), "median": median,
                                      "mean": mean, "bias": bias, "covered": covered,
                                      "pooled": pooled_median(some)}  # fmt: skip
            if kind == "speed":
                row |= dict(zip(("simple_median", "simple_mean"), balanced(some, "simple")[:2], strict=True))
                row["simple_pooled"] = pooled_median(some, "simple")
            rows.append({name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()})
    return rows


def keep(path: Path, **parts: object) -> None:
    """Write parts of the table that docs/accuracy.md is made of; the others stay as they are."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, **parts}, indent=1, sort_keys=True) + "\n")


def main(arguments: argparse.Namespace) -> None:
    """Read, fit, predict, print."""
    begun = time.process_time()
    rows = read_point_rows(arguments.points)
    ready, refused = cases(rows)
    found = in_sample(ready) if arguments.in_sample else predictions(ready, arguments.without)
    report(found, arguments.worst)
    if arguments.write and arguments.without == "group":
        keep(RESULTS, **{"in sample" if arguments.in_sample else "left out": sliced(found)})
    elif arguments.write:
        keep(RESULTS, **{f"left out by {arguments.without}": [row for row in sliced(found) if row["by"] == "all"]})
    kinds = {kind: len({s.case.row.dataset for s in found if s.kind == kind}) for kind in KINDS}
    print(f"\nrows {len(rows)}, refused {len(refused)}; data sets {kinds}; {time.process_time() - begun:.0f} s of CPU")
    for reason in sorted(set(refused.values())):
        print(f"  {sum(r == reason for r in refused.values()):4} × {reason}")


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path, nargs="?", default=DEFAULT)
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--in-sample", action="store_true", help="score the shipped calibration")
    seen.add_argument("--without", choices=tuple(LEFT_OUT), default="group", help="what no fit has seen")
    parser.add_argument("--write", action="store_true", help="keep the table for docs/accuracy.md")
    parser.add_argument("--worst", type=int, default=25)
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
