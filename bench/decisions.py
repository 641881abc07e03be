"""Score decisions, not errors: `python bench/decisions.py [points.csv] [--margin 1.0]`.

A question is a data set, accelerator, model, format, engine and lengths of which several layouts were measured under
closed loops. For each limit on TPOT the choice is the measured layout and concurrency with the most predicted output
per accelerator and second whose predicted TPOT, times a margin, keeps the limit. It breaks the limit when the measured
TPOT is more than 5 % above it; otherwise it costs what the best measured choice within the limit gives more. Rows are
predicted by a calibration that never saw their group. The four-constant roofline decides the same questions.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy import RESULTS, four_constants, keep
from evidence import DEFAULT, calibrated, cases, group_of

from sizewell.catalog.points import read_point_rows
from sizewell.planner.played_points import Player
from sizewell.planner.point_cases import PointCase
from sizewell.planner.validate_points import predict_point

LIMITS_S = (0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1)
TOLERANCE = 1.05


@dataclass(frozen=True, slots=True)
class Option:
    """One measured layout at one concurrency: what was measured and what was predicted of it."""

    layout: tuple[object, ...]
    measured_tpot_s: float
    measured_rate: float
    predicted_tpot_s: float
    predicted_rate: float
    simple_tpot_s: float
    simple_rate: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a way to predict decided under one limit; `regret` is None where the limit broke or nothing was chosen."""

    chosen: bool
    broken: bool
    regret: float | None


def question(case: PointCase) -> tuple[object, ...]:
    """Return what is asked: everything but layout and concurrency."""
    row = case.row
    return (row.dataset, row.gpu, row.model, row.weight_format, row.engine, row.engine_version, row.input_tokens,
            row.output_tokens, row.speculative, bool(row.disaggregated))  # fmt: skip


def option(case: PointCase, tpot_s: float, ttft_s: float) -> Option | None:
    """Return a row as an option; None where it lacks a load of users or a measured TPOT."""
    row = case.row
    measured = row.metrics.get("tpot_mean_s")
    if row.load != "closed_loop" or measured is None or row.concurrency is None:
        return None
    layout = (row.num_gpus, row.tp, row.pp, row.ep, row.dp, row.attention_dp, row.disaggregated)
    simple = four_constants(case)
    first = row.metrics.get("ttft_mean_s", 0.0)
    return Option(layout, measured, _rate(case, first, measured), tpot_s, _rate(case, ttft_s, tpot_s),
                  simple, _rate(case, 0.0, simple))  # fmt: skip


def _rate(case: PointCase, ttft_s: float, tpot_s: float) -> float:
    """Return output tokens per second and accelerator by Little's law."""
    tokens = case.lengths.output_tokens
    return (case.row.concurrency or 1.0) * tokens / (ttft_s + (tokens - 1) * tpot_s) / case.row.num_gpus


def decide(
    options: Sequence[Option], limit_s: float, tpot: Callable[[Option], float], rate: Callable[[Option], float]
) -> Verdict | None:
    """Return what is decided under a limit; None where no measured option keeps it."""
    kept = [o for o in options if o.measured_tpot_s <= limit_s]
    if not kept:
        return None
    possible = [o for o in options if tpot(o) <= limit_s]
    if not possible:
        return Verdict(chosen=False, broken=False, regret=None)
    choice = max(possible, key=rate)
    if choice.measured_tpot_s > TOLERANCE * limit_s:
        return Verdict(chosen=True, broken=True, regret=None)
    best = max(o.measured_rate for o in kept)
    return Verdict(chosen=True, broken=False, regret=max(0.0, 1 - choice.measured_rate / best))


def report(questions: dict[tuple[object, ...], list[Option]], margin: float) -> dict[str, dict[str, float]]:
    """Print the share of broken limits and the mean regret, by data set and for all; return those of all."""
    summaries = {}
    ways: dict[str, tuple[Callable[[Option], float], Callable[[Option], float]]] = {
        "sizewell": (lambda o: o.predicted_tpot_s * margin, lambda o: o.predicted_rate),
        "four-constant roofline": (lambda o: o.simple_tpot_s, lambda o: o.simple_rate),
    }
    print(f"{'':52}{'decisions':>10}{'broken':>8}{'regret':>8}{'none chosen':>12}")
    for name, (tpot, rate) in ways.items():
        found: dict[str, list[Verdict]] = defaultdict(list)
        for key, options in questions.items():
            verdicts = (decide(options, limit, tpot, rate) for limit in LIMITS_S)
            found[str(key[0])] += [v for v in verdicts if v is not None]
        everything = [v for some in found.values() for v in some]
        summaries[name] = summary(everything)
        _line(name, everything)
        for label, some in sorted(found.items()):
            _line("  " + label, some)
    print(f"{'best peer, as published by its own regression set':52}{'':10}{0.14:8.0%}{0.075:8.1%}")
    return summaries


def summary(some: Sequence[Verdict]) -> dict[str, float]:
    """Return how many decisions were made, the share of broken limits, the mean regret and how often none was chosen."""
    made = [v for v in some if v.chosen]
    regrets = [v.regret for v in made if v.regret is not None]
    return {
        "decisions": len(made),
        "broken": round(float(np.mean([v.broken for v in made])), 4) if made else 0.0,
        "regret": round(float(np.mean(regrets)), 4) if regrets else 0.0,
        "none": len(some) - len(made),
    }


def _line(label: str, some: Sequence[Verdict]) -> None:
    one = summary(some)
    print(f"{label:52}{one['decisions']:10}{one['broken']:8.1%}{one['regret']:8.1%}{one['none']:12}")


def main(arguments: argparse.Namespace) -> None:
    """Read, fit, decide, print."""
    ready, _ = cases(read_point_rows(arguments.points))
    apart, player = calibrated(ready).without(group_of), Player()
    ready = [case for case in ready if case.row.trust != "drop" and case.row.load == "closed_loop"]
    found: dict[tuple[object, ...], list[Option]] = defaultdict(list)
    for case in ready:
        values = {
            a.metric: a.predicted.value for a in predict_point(case, apart[group_of(case)], player) if a.predicted
        }
        one = option(case, values.get("tpot_mean_s", 0.0), values.get("ttft_mean_s", 0.0))
        if one is not None:
            found[question(case)].append(one)
    several = {key: some for key, some in found.items() if len({o.layout for o in some}) > 1}
    print(f"{len(several)} questions with several layouts, {sum(map(len, several.values()))} measured options")
    summaries = report(several, arguments.margin)
    if arguments.write:
        keep(RESULTS, decisions=summaries)


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--write", action="store_true", help="keep the table for docs/accuracy.md")
    parser.add_argument("--margin", type=float, default=1.0, help="predicted TPOT is multiplied by so much")
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
