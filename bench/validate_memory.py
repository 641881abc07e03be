"""Print the bars of the memory ledger against a table of start-up logs: by metric and engine, then what is off.

Usage: python bench/validate_memory.py ../shared/data/memory-dev.csv [--rows]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from statistics import median

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import gpu_in_log
from sizewell.catalog.measurements import read_memory_rows
from sizewell.catalog.models import read_model
from sizewell.planner.validate_memory import LogFacts, MemoryPrediction, predict_log, unanswered
from sizewell.specs.errors import SizewellError
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.memory_row import MemoryRow

VAGUE = ("class",)


def predictions(path: Path) -> list[MemoryPrediction]:
    """Return the answer to every row of a table."""
    rows = read_memory_rows(path)
    logs: dict[tuple[object, ...], list[MemoryRow]] = defaultdict(list)
    for row in rows:
        logs[row.log].append(row)
    return [answer for log in logs.values() for answer in _log(log)]


def _log(rows: list[MemoryRow]) -> tuple[MemoryPrediction, ...]:
    try:
        model = read_model(rows[0].model)
        engine = read_engine(rows[0].engine, _version(rows))
        return predict_log(rows, LogFacts(model=model, gpu=_gpu(rows[0]), engine=engine))
    except SizewellError as error:
        return unanswered(rows, str(error))


def _version(rows: list[MemoryRow]) -> str:
    version = max((row.engine_version for row in rows), key=len)
    gpu = _gpu(rows[0])
    old = gpu is not None and gpu.compute_capability is not None and float(gpu.compute_capability) < 8
    # Cards before Ampere stay on vLLM's first engine as long as there is one.
    return f"{version} V0" if old and version.startswith(("0.8", "0.9")) else version


def _gpu(row: MemoryRow) -> GpuSpec | None:
    if not row.gpu or any(word in row.gpu for word in VAGUE):
        return None
    return gpu_in_log(row.gpu, row.memory_gib)


def main(path: str, *flags: str) -> None:
    """Print the table of bars and the rows outside them."""
    answers = predictions(Path(path))
    key = lambda a: (a.row.engine, a.metric, a.basis)  # noqa: E731
    print(
        f"{'engine':10}{'metric':22}{'basis':10}{'n':>4}{'median %':>10}{'worst %':>10}{'<=1%':>6}{'<=3%':>6}{'<=10%':>6}"
    )
    for (engine, metric, basis), group in groupby(sorted(answers, key=key), key):
        items = list(group)
        errors = sorted(abs(a.error_fraction) * 100 for a in items if a.error_fraction is not None)
        if not errors:
            print(f"{engine:10}{metric:22}{basis:10}{len(items):4}")
            continue
        shares = "".join(f"{sum(e <= bar for e in errors):6}" for bar in (1, 3, 10))
        print(f"{engine:10}{metric:22}{basis:10}{len(errors):4}{median(errors):10.2f}{errors[-1]:10.2f}{shares}")
    _print_capacity("capacity, settings stated", [a for a in answers if a.states_settings])
    _print_capacity("capacity, fraction stated", [a for a in answers if a.row.memory_fraction is not None])
    _print_capacity("capacity, all", answers)
    for answer in answers:
        _print_row(answer, everything="--rows" in flags)


def _print_capacity(title: str, answers: list[MemoryPrediction]) -> None:
    """Print the bar on KV capacity: median within 3 %, 95 % of rows within 10 %."""
    for engine in ("vllm", "sglang"):
        chosen = [a for a in answers if a.row.engine == engine and a.metric in {"kv_gib", "max_concurrency_x"}]
        errors = [abs(a.error_fraction) for a in chosen if a.error_fraction is not None]
        if errors:
            within = sum(e <= 0.1 for e in errors) / len(errors)
            print(f"{engine} {title}: n {len(errors)}, median {median(errors):.2%}, within 10 %: {within:.0%}")


def _print_row(answer: MemoryPrediction, *, everything: bool) -> None:
    limit = 0.01 if answer.metric in {"weights_gib_per_gpu", "kv_bytes_per_token"} else 0.1
    error = answer.error_fraction
    if not everything and error is not None and abs(error) <= limit:
        return
    row = answer.row
    shown = "-" if answer.predicted is None else f"{answer.predicted:.4g}"
    off = "" if error is None else f"{error * 100:+.1f}%"
    print(f"{row.engine} {row.version} {row.model} {row.gpu} {row.cut} {answer.metric}: "
          f"measured {answer.measured:.5g} predicted {shown} {off} {answer.reason[:90]}")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
