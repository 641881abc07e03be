"""Print the bars of the memory ledger against a table of start-up logs, then every figure outside them.

Usage: python bench/validate_memory.py ../shared/data/memory-dev.csv [--rows] [--leave-one-out]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from sizewell.catalog.measurements import read_memory_rows
from sizewell.catalog.memory_logs import logged_setup, logs, predict_memory_rows
from sizewell.planner.logged_settings import LoggedSetup
from sizewell.planner.memory_bars import MemoryBar, diagnosis_bar, memory_bars
from sizewell.planner.validate_memory import MemoryPrediction, predict_log
from sizewell.specs.errors import SizewellError
from sizewell.specs.memory_row import MemoryRow

GIB = 2**30
EXACT = {"weights_gib_per_gpu", "kv_bytes_per_token"}


def print_bars(bars: tuple[MemoryBar, ...]) -> None:
    """Print one line a group: how many, median and worst error, how many within 1, 3, 5 and 10 %."""
    print(f"{'figures':58}{'n':>5}{'answered':>9}{'median':>9}{'worst':>10}   <=1% <=3% <=5% <=10% in interval")
    for bar in bars:
        shares = "".join(f"{count:5}" for count in bar.within)
        errors = f"{bar.median_fraction:9.2%}{bar.worst_fraction:10.1%}"
        print(f"{bar.title:58}{bar.figures:5}{bar.answered:9}{errors}  {shares}{bar.covered:8}/{bar.estimated}")


def print_row(answer: MemoryPrediction, *, everything: bool) -> None:
    """Print a figure that is outside its bar or unanswered, with the reason."""
    error, row = answer.error_fraction, answer.row
    limit = 0.01 if answer.metric in EXACT else 0.1
    if not everything and error is not None and abs(error) <= limit:
        return
    shown = "-" if answer.predicted is None else f"{answer.predicted:.4g}"
    off = "" if error is None else f"{error * 100:+.1f}%"
    print(f"{row.engine} {row.version} {row.model} {row.gpu} {row.cut} {answer.metric}: "
          f"measured {answer.measured:.5g} predicted {shown} {off} {answer.reason[:110]}")  # fmt: skip


def leave_one_out(rows: tuple[MemoryRow, ...]) -> tuple[MemoryPrediction, ...]:
    """Predict each thread with what lies beside PyTorch refitted from the other threads alone."""
    known: list[tuple[tuple[MemoryRow, ...], LoggedSetup]] = []
    for log in logs(rows):
        try:
            known.append((log, logged_setup(log)))
        except SizewellError:
            continue
    return tuple(
        answer for log, facts in known for answer in predict_log(log, _refitted(log, facts, known))
    )  # fmt: skip


def _refitted(
    log: tuple[MemoryRow, ...], facts: LoggedSetup, known: list[tuple[tuple[MemoryRow, ...], LoggedSetup]]
) -> LoggedSetup:
    several = log[0].cut.gpus > 1
    field = "non_torch_bytes_tp" if several else "non_torch_bytes_tp1"
    if facts.engine.profile == "sglang":
        # Its logs call context and collectives so, and both lie outside the share.
        field = "collective_bytes"

    def seen(same_release: bool) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for other, its in known:
            alike = its.engine.profile == facts.engine.profile and (other[0].cut.gpus > 1) == several
            if same_release:
                # Releases that share the constant were fitted together.
                alike = alike and getattr(its.engine, field) == getattr(facts.engine, field)
            if alike and other[0].thread != log[0].thread:
                values = [row.value * GIB for row in other if row.metric == "non_torch_gib"]
                found.setdefault(other[0].thread, []).extend(values)
        return {thread: values for thread, values in found.items() if values}

    # One thread is no sample: its neighbours in time are asked as well.
    threads = seen(same_release=True)
    threads = threads if len(threads) > 1 else seen(same_release=False)
    values = [value for found in threads.values() for value in found]
    if not values:
        return facts
    beside = median(values) - (facts.engine.context_bytes if field == "collective_bytes" else 0.0)
    return replace(facts, engine=replace(facts.engine, non_torch_bytes_per_rank=0.0, **{field: beside}))


def main(path: str, *flags: str) -> None:
    """Print bars and rows, or the bars with each thread left out of the fit."""
    rows = read_memory_rows(Path(path))
    answers = leave_one_out(rows) if "--leave-one-out" in flags else predict_memory_rows(rows)
    diagnosed = diagnosis_bar(predict_memory_rows(rows, logged_peak=True))
    print_bars((*memory_bars(answers), diagnosed))
    for answer in answers:
        print_row(answer, everything="--rows" in flags)


if __name__ == "__main__":
    main(*sys.argv[1:])
