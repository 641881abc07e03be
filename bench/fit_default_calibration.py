"""Fit the default efficiencies on published points: `python bench/fit_default_calibration.py [points.csv] [rounds]`.

Coordinate descent on the mean |ln(predicted / measured)| (clipped at ln 4), every data set weighing the same, from
fixed starting values and within ranges that are physically plausible, for few constants by structure: never one for
a model or a point. Writes the calibration file in place; the file does not depend on what was there before.
"""

from __future__ import annotations

import math
import random
import sys
from collections import defaultdict
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from fit_ranges import ASSUMED, SHARED, TAGGED, Guess, guesses, start
from validate_points import DEFAULT, FIRST, RUN, SPEED, THROUGHPUT, cases

from sizewell.catalog.points import read_point_rows
from sizewell.planner.point_cases import PointCase
from sizewell.planner.validate_points import predict_point
from sizewell.specs.calibration import Efficiencies, Factor

ROWS_PER_CELL = 4
FEW_ROWS = 10
TRUST = {"B": 0.5}
"""A data set with fewer rows weighs less, in proportion."""

WEIGHTS = {
    **dict.fromkeys(SPEED, 1.0),
    **dict.fromkeys(THROUGHPUT, 0.7),
    **dict.fromkeys(RUN, 0.7),
    **dict.fromkeys(FIRST, 0.25),
    "prefill_tokens_per_s": 0.7,
}


STEP = 1.3
LINE = 5
SETTLED = 0.0003
"""A factor that gains less than this on the mean log error is left where it is."""


def sample(ready: list[PointCase]) -> list[PointCase]:
    """Return at most ROWS_PER_CELL rows of each data set × accelerator × engine × model × load, always the same."""
    cells = defaultdict(list)
    for case in ready:
        vague = case.row.trust == "C" and case.row.dataset != "kempner_dsr1"
        if case.row.trust != "drop" and (not vague or case.row.load == "offline"):
            row = case.row
            cells[(row.dataset, row.gpu, row.engine, row.model, row.weight_format, row.load)].append(case)
    pick = random.Random(1)
    return [case for cell in cells.values() for case in pick.sample(cell, min(len(cell), ROWS_PER_CELL))]


class Losses:
    """The mean over data sets of the weighted mean absolute log error; cases a trial does not touch are not redone."""

    def __init__(self, chosen: list[PointCase]) -> None:
        self.chosen = chosen
        self.tags = [(*case.machines.tags[0], f"engine:{case.engine}") for case in chosen]
        self.trust = {case.row.dataset: TRUST.get(case.row.trust[:1], 1.0) for case in chosen}
        self.known: list[tuple[tuple[float, ...], tuple[float, float]] | None] = [None] * len(chosen)

    def score(self, efficiencies: Efficiencies) -> tuple[float, list[Any]]:
        """Return the loss and what to keep if the trial is taken."""
        by_set: dict[str, list[tuple[float, float]]] = defaultdict(list)
        fresh = []
        values: dict[tuple[str, ...], dict[str, float]] = {}
        for case, tags, known in zip(self.chosen, self.tags, self.known, strict=True):
            if tags not in values:
                values[tags] = efficiencies.values(tags)
            used = tuple(values[tags][name] for name in relevant(case))
            result = known if known is not None and known[0] == used else (used, case_loss(case, efficiencies))
            fresh.append(result)
            by_set[case.row.dataset].append(result[1])
        means = [
            (self.trust[name] * min(len(pairs) / FEW_ROWS, 1.0), sum(s for _, s in pairs) / sum(w for w, _ in pairs))
            for name, pairs in by_set.items()
            if sum(w for w, _ in pairs)
        ]
        return sum(share * mean for share, mean in means) / sum(share for share, _ in means), fresh


def case_loss(case: PointCase, efficiencies: Efficiencies) -> tuple[float, float]:
    """Return the weight of a case's metrics and their weighted absolute log error."""
    weights, sizes = 0.0, 0.0
    for answer in predict_point(case, efficiencies):
        weight = WEIGHTS.get(answer.metric, 0.0)
        if weight and answer.predicted and answer.measured > 0 and 0 < answer.predicted.value < math.inf:
            weights += weight
            sizes += weight * min(abs(math.log(answer.predicted.value / answer.measured)), math.log(4))
    return weights, sizes


@cache
def _relevant(kinds: frozenset[str], *, shared: bool, far: bool, eager: bool) -> tuple[str, ...]:
    names = [n for n in (*SHARED, *ASSUMED) if not n.endswith(("_spread", "_ratio"))]
    unused = {"relative_link"} if not shared else set()
    unused |= {"far_collective_s", "far_step_s", "link_far"} if not far else set()
    unused |= {"eager_launch_s"} if not eager else set()
    unused |= {"widened_flops", "widened_hbm"} if "dequantised-gemm" not in kinds else set()
    return tuple(n for n in names if n not in unused)


def relevant(case: PointCase) -> tuple[str, ...]:
    """Return the factors a case may depend on."""
    key = id(case)
    if key not in _KNOWN:
        operators = [o for pools in case.choices for pool in pools for o in pool.work.decode.operators]
        kinds = frozenset(o.kind for o in operators) | ({"block-scaled"} if any(o.block_scaled for o in operators) else set())
        shared = any(o.collectives for o in operators) or len(case.choices[0]) > 1
        far = case.machines.clusters[0].nodes > 1 or case.row.num_gpus > 8
        eager = any(pool.work.policy.eager for pools in case.choices for pool in pools)
        _KNOWN[key] = _relevant(kinds, shared=shared, far=far, eager=eager)
    return _KNOWN[key]


_KNOWN: dict[int, tuple[str, ...]] = {}


def descend(chosen: list[PointCase], efficiencies: Efficiencies, rounds: int) -> Efficiencies:
    """Return the efficiencies after `rounds` passes with shrinking steps."""
    losses = Losses(chosen)
    best, losses.known = losses.score(efficiencies)
    print(f"start {best:.4f} on {len(chosen)} rows", flush=True)
    for turn in range(rounds):
        step = 1 + (STEP - 1) * 0.65**turn
        for tag in ("", *TAGGED):
            for name, guess in guesses(tag).items():
                for factor in (step, 1 / step):
                    taken = False
                    for _ in range(LINE):
                        trial = scaled(efficiencies, (tag, name), guess, factor)
                        score, kept = losses.score(trial)
                        if score >= best - SETTLED * 0.65**turn:
                            break
                        efficiencies, best, losses.known, taken = trial, score, kept, True
                    if taken:
                        break
        print(f"round {turn + 1}: {best:.4f}", flush=True)
    return efficiencies


def scaled(efficiencies: Efficiencies, what: tuple[str, str], guess: Guess, factor: float) -> Efficiencies:
    """Return the efficiencies with one factor multiplied, within its plausible range."""
    tag, name = what
    value = float(f"{min(max(efficiencies.value(name, [tag]) * factor, guess.low), guess.high):.4g}")
    changed = Factor(value=value, spread=guess.spread, source=SOURCE)
    if not tag:
        return replace(efficiencies, factors={**efficiencies.factors, name: changed})
    table = {**efficiencies.overrides.get(tag, {}), name: changed}
    return replace(efficiencies, overrides={**efficiencies.overrides, tag: table})


KINDS = {
    "tpot_spread": ("tpot_mean_s", "itl_mean_s", "e2e_mean_s"),
    "ttft_spread": FIRST,
    "throughput_spread": (*THROUGHPUT, "decode_tokens_per_s", "prefill_tokens_per_s"),
}
COVERED = 0.8


def with_intervals(ready: list[PointCase], efficiencies: Efficiencies) -> Efficiencies:
    """Return the efficiencies with spreads that hold 80 % of the errors, and tails as measured over measured means."""
    answers = [(case, a) for case in ready if case.row.trust != "drop" for a in predict_point(case, efficiencies)]
    factors = dict(efficiencies.factors)
    for name, metrics in KINDS.items():
        by_set: dict[str, list[float]] = defaultdict(list)
        for case, answer in answers:
            if answer.metric in metrics and answer.predicted and not case.assumed and case.rate_per_s is None:
                by_set[case.row.dataset].append(abs(math.log(answer.predicted.value / answer.measured)))
        pairs = sorted((size, 1 / len(sizes)) for sizes in by_set.values() for size in sizes)
        width, held = 0.0, 0.0
        for size, weight in pairs:
            width, held = size, held + weight
            if held >= COVERED * len(by_set):
                break
        factors[name] = Factor(value=round(math.exp(width) - 1, 2), spread=0.0, source=SPREAD_SOURCE)
    for name in [n for n in factors if n.endswith("_ratio")]:
        kind, statistic, _ = name.split("_")
        ratio = _tail(ready, kind, statistic)
        if ratio:
            factors[name] = Factor(value=round(ratio, 2), spread=factors[name].spread, source=TAIL_SOURCE)
    for kind in ("ttft", "tpot"):
        tails = [f"{kind}_{statistic}_ratio" for statistic in ("median", "p90", "p95", "p99")]
        # Few rows print some statistics: a higher percentile must not come out below a lower one.
        for name, value in zip(tails, sorted(factors[name].value for name in tails), strict=True):
            factors[name] = replace(factors[name], value=value)
    return replace(efficiencies, factors=factors)


def _tail(ready: list[PointCase], kind: str, statistic: str) -> float | None:
    """Return the median over data sets of the median measured statistic over the measured mean."""
    by_set: dict[str, list[float]] = defaultdict(list)
    for case in ready:
        mean, tail = (case.row.metrics.get(f"{kind}_{which}_s") for which in ("mean", statistic))
        if mean and tail:
            by_set[case.row.dataset].append(tail / mean)
    return median([median(values) for values in by_set.values()]) if by_set else None


BASIS = "shared/data/points-dev.csv, 2026-11"
SPREAD_SOURCE = f"error that 80 % of published points stay within, all data sets weighing the same, in sample: {BASIS}"
TAIL_SOURCE = f"median over data sets of the measured statistic over the measured mean: {BASIS}"
SOURCE = f"bench/fit_default_calibration.py, all data sets weighing the same: {BASIS}"


def write(efficiencies: Efficiencies) -> None:
    """Write the calibration file."""
    lines = [
        "# What kernels, links and engines reach of stated rates. Beliefs, not facts: shares lie in (0, 1].",
        "# Names end in their unit. Made from scratch, in sample (see docs/cost-model.md), by:",
        f"#   python bench/fit_default_calibration.py ../shared/data/points-dev.csv {ROUNDS}",
        f'name = "{efficiencies.name}"',
        'curves = "kernels"',
        "",
    ]
    tables = {"factors": efficiencies.factors} | {f'overrides."{t}"': v for t, v in efficiencies.overrides.items()}
    for prefix, table in tables.items():
        for name, factor in table.items():
            lines += [f"[{prefix}.{name}]", f"value = {factor.value:.4g}", f"spread = {factor.spread:g}",
                      f'source = "{factor.source}"', ""]  # fmt: skip
    path = files("sizewell.catalog") / "data" / "calibrations" / "default.toml"
    Path(str(path)).write_text("\n".join(lines))


ROUNDS = 4


if __name__ == "__main__":
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    ready, _ = cases(read_point_rows(table))
    fitted = descend(sample(ready), start(), int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS)
    write(with_intervals(ready, fitted))
