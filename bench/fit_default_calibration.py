"""Fit the default efficiencies on published points: `python bench/fit_default_calibration.py [points.csv] [rounds]`.

Coordinate descent on the mean |ln(predicted / measured)| (clipped at ln 4), every data set weighing the same,
for few constants by structure: never one for a model or a point. Writes the calibration file in place.
"""

from __future__ import annotations

import math
import random
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median

from validate_points import DEFAULT, FIRST, RUN, SPEED, THROUGHPUT, cases

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.points import read_point_rows
from sizewell.planner.point_cases import PointCase
from sizewell.planner.validate_points import predict_point
from sizewell.specs.calibration import FRACTIONS, Efficiencies, Factor

ROWS_PER_CELL = 12
WEIGHTS = {
    **dict.fromkeys(SPEED, 1.0),
    **dict.fromkeys(THROUGHPUT, 0.7),
    **dict.fromkeys(RUN, 0.7),
    **dict.fromkeys(FIRST, 0.35),
    "prefill_tokens_per_s": 0.7,
}
SHARED = (
    "flops_gemm", "flops_narrow", "flops_dequantised", "flops_experts", "flops_dequantised_experts",
    "flops_prefill_attention", "flops_latent_attention", "hbm_gemm", "hbm_dequantised", "hbm_experts",
    "hbm_dequantised_experts", "hbm_attention", "hbm_latent_attention", "hbm_state", "link_near", "link_host",
    "tile_rows", "expert_tile_rows", "kernel_gap_s", "eager_launch_s", "host_step_s", "host_sequence_s", "collective_s",
    "far_collective_s", "request_s", "burst_share",
)  # fmt: skip
TAGGED = {
    "engine:trtllm": ("host_step_s", "host_sequence_s", "request_s", "burst_share", "hbm_experts", "flops_experts"),
    "engine:sglang": ("host_step_s", "host_sequence_s", "request_s", "burst_share"),
    "engine:llama.cpp": ("tile_rows", "host_step_s", "hbm_dequantised", "flops_dequantised", "flops_gemm"),
    "engine:lmdeploy": ("burst_share", "request_s"),
    "vendor:apple": ("hbm_gemm", "hbm_dequantised", "flops_gemm", "flops_dequantised", "flops_prefill_attention"),
    "vendor:amd": ("hbm_gemm", "hbm_attention", "flops_gemm", "collective_s", "host_step_s"),
    "architecture:blackwell": ("hbm_gemm", "hbm_experts", "hbm_dequantised_experts", "hbm_latent_attention",
                               "flops_experts", "flops_dequantised_experts", "flops_narrow"),
    "architecture:ampere": ("hbm_gemm", "flops_gemm", "hbm_experts"),
    "architecture:ada": ("hbm_gemm", "flops_gemm"),
    "form:consumer": ("hbm_gemm", "hbm_dequantised", "flops_gemm"),
}  # fmt: skip
STEP = 1.2


def sample(ready: list[PointCase]) -> list[PointCase]:
    """Return at most ROWS_PER_CELL rows of each data set × accelerator × model × load, always the same."""
    cells = defaultdict(list)
    for case in ready:
        vague = case.row.trust == "C" and case.row.dataset != "kempner_dsr1" and case.row.load != "offline"
        if case.row.trust != "drop" and not vague:
            cells[(case.row.dataset, case.row.gpu, case.row.engine, case.row.load)].append(case)
    pick = random.Random(1)
    return [case for cell in cells.values() for case in pick.sample(cell, min(len(cell), ROWS_PER_CELL))]


def loss(chosen: list[PointCase], efficiencies: Efficiencies) -> float:
    """Return the mean over data sets of the weighted mean absolute log error."""
    by_set: Mapping[str, list[tuple[float, float]]] = defaultdict(list)
    for case in chosen:
        for answer in predict_point(case, efficiencies):
            weight = WEIGHTS.get(answer.metric, 0.0)
            if weight and answer.predicted and answer.measured > 0 and answer.predicted.value > 0:
                size = min(abs(math.log(answer.predicted.value / answer.measured)), math.log(4))
                by_set[case.row.dataset].append((weight, weight * size))
    means = {name: sum(s for _, s in v) / sum(w for w, _ in v) for name, v in by_set.items()}
    return sum(means.values()) / len(means)


def descend(chosen: list[PointCase], efficiencies: Efficiencies, rounds: int) -> Efficiencies:
    """Return the efficiencies after `rounds` passes with shrinking steps."""
    best = loss(chosen, efficiencies)
    print(f"start {best:.4f} on {len(chosen)} rows", flush=True)
    for turn in range(rounds):
        step = STEP ** (0.6**turn)
        for tag, name in [("", n) for n in SHARED] + [(t, n) for t, ns in TAGGED.items() for n in ns]:
            for factor in (step, 1 / step):
                trial = _scaled(efficiencies, tag, name, factor)
                score = loss(chosen, trial)
                if score < best - 1e-5:
                    efficiencies, best = trial, score
                    break
        print(f"round {turn + 1}: {best:.4f}", flush=True)
        write(efficiencies)
    return efficiencies


def _scaled(efficiencies: Efficiencies, tag: str, name: str, factor: float) -> Efficiencies:
    current = efficiencies.value(name, [tag])
    value = current * factor
    if name.startswith(FRACTIONS):
        value = min(value, 0.92)
    if name == "burst_share":
        value = min(value, 2.0)
    base = efficiencies.factors[name]
    changed = Factor(value=value, spread=base.spread, source=SOURCE)
    if not tag:
        return Efficiencies(
            name=efficiencies.name, factors={**efficiencies.factors, name: changed}, overrides=efficiencies.overrides
        )
    table = {**efficiencies.overrides.get(tag, {}), name: changed}
    return Efficiencies(
        name=efficiencies.name, factors=efficiencies.factors, overrides={**efficiencies.overrides, tag: table}
    )


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
    return Efficiencies(name=efficiencies.name, factors=factors, overrides=efficiencies.overrides)


def _tail(ready: list[PointCase], kind: str, statistic: str) -> float | None:
    """Return the median over data sets of the median measured statistic over the measured mean."""
    by_set: dict[str, list[float]] = defaultdict(list)
    for case in ready:
        mean, tail = (case.row.metrics.get(f"{kind}_{which}_s") for which in ("mean", statistic))
        if mean and tail:
            by_set[case.row.dataset].append(tail / mean)
    return median([median(values) for values in by_set.values()]) if by_set else None


SPREAD_SOURCE = "error that 80 % of published points stay within, all data sets weighing the same, in sample, 2026-11"
TAIL_SOURCE = "median over data sets of the measured statistic over the measured mean, published points, 2026-11"
SOURCE = "bench/fit_default_calibration.py on published points, all data sets weighing the same, 2026-11"


def write(efficiencies: Efficiencies) -> None:
    """Write the calibration file."""
    lines = [
        "# What kernels, links and engines reach of stated rates. Beliefs, not facts: shares lie in (0, 1].",
        "# Names end in their unit; fitted by bench/fit_default_calibration.py, in sample: see docs/cost-model.md.",
        f'name = "{efficiencies.name}"',
        "",
    ]
    tables = {"factors": efficiencies.factors} | {f'overrides."{t}"': v for t, v in efficiencies.overrides.items()}
    for prefix, table in tables.items():
        for name, factor in table.items():
            lines += [f"[{prefix}.{name}]", f"value = {factor.value:.4g}", f"spread = {factor.spread:g}",
                      f'source = "{factor.source}"', ""]  # fmt: skip
    path = files("sizewell.catalog") / "data" / "calibrations" / "default.toml"
    Path(str(path)).write_text("\n".join(lines))


if __name__ == "__main__":
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    ready, _ = cases(read_point_rows(table))
    fitted = descend(sample(ready), read_efficiencies(), int(sys.argv[2]) if len(sys.argv) > 2 else 4)
    write(with_intervals(ready, fitted))
