"""What `sizewell calibrate --from-runs` finds of machines nobody was told of: `python bench/recovery.py`.

Emulated servers reach other shares than the catalogue says. Three loads of each are measured, with requests that are all
alike, which is hardest, and with lengths as people's are; a calibration is fitted to them, and a load that was not
measured is predicted with it. Prints hidden and found multipliers, how far they lie apart in stated spreads, and the
error of the next prediction before and after.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, log1p
from pathlib import Path
from typing import Any

from hidden_machine import ROOT, emulated, free_port, hide


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A deployment, the multipliers it hides, the loads it is learnt from and the one that is predicted then."""

    words: tuple[str, ...]
    tag: str
    hidden: Mapping[str, float]
    loads: str = "1,8,24"
    next_load: str = "16"
    lengths: tuple[str, ...] = ("--input", "600", "--answer", "48")


CASES = (
    Case(
        words=("llama-3.1-8b", "--on", "1xh100", "--max-model-len", "4096"),
        tag="gpu:h100-sxm-80gb+engine:vllm", hidden={"relative_flops": 0.8, "relative_hbm": 0.7},
    ),
    Case(
        words=("qwen3-14b", "--on", "1xmi300x", "--engine", "sglang", "--max-model-len", "4096"),
        tag="gpu:mi300x-192gb+engine:sglang", hidden={"relative_flops": 0.6, "request_s": 2.0},
    ),
    Case(
        words=("mixtral-8x7b", "--on", "2xa100-pcie-80gb", "--tp", "2", "--max-model-len", "4096"),
        tag="gpu:a100-pcie-80gb+engine:vllm", hidden={"relative_flops": 0.7, "relative_hbm": 0.75}, loads="1,6,20",
    ),
)  # fmt: skip
SIGMAS = ("0", "0.5")


def sizewell(words: Sequence[str], places: Mapping[str, str]) -> Any:
    """Run a command and return its document; ends the program where it fails."""
    command = [sys.executable, "-m", "sizewell", *words, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **places}, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


def walk(case: Case, sigma: str, folder: Path) -> Iterator[str]:
    """Measure, calibrate and predict again; yield the lines that say what came of it."""
    places = {"SIZEWELL_HOME": str(folder / "records"), "SIZEWELL_CATALOG": str(folder / "catalogue")}
    hide(folder / "hidden", case.tag, case.hidden)
    load = (*case.words, *case.lengths, "--length-sigma", sigma)
    with emulated(case.words, free_port(), folder / "hidden") as url:
        sizewell(["bench", *load, "--url", url, "--concurrency", case.loads, "--keep", "learnt"], places)
        (before,) = sizewell(["bench", *load, "--url", url, "--concurrency", case.next_load], places)["points"]
        found = sizewell(["calibrate", "--from-runs", "--save", "found"], places)
        (after,) = sizewell(["bench", *load, "--url", url, "--concurrency", case.next_load], places)["points"]
    for factor in found["factors"]:
        true = case.hidden.get(factor["factor"], 1.0)
        if factor["determined"]:
            away = log(factor["scale"] / true) / log1p(factor["spread_fraction"])
            yield f"  {factor['factor']:<16} hidden {true:4.2f}  found {factor['scale']:5.3f}  {away:+.1f} spreads"
        elif true != 1.0:
            yield f"  {factor['factor']:<16} hidden {true:4.2f}  not found: {factor['why']}"
    yield f"  held back: {found['before_fraction']:.1%} before, {found['after_fraction']:.1%} after"
    yield f"  {case.next_load} at once, predicted over measured: before {_ratios(before)}, after {_ratios(after)}"


def _ratios(point: Mapping[str, Any]) -> str:
    both = (("TTFT", "ttft"), ("TPOT", "tpot"))
    return ", ".join(
        f"{name} x {point['predicted'][key]['p50_s'] / point['score'][key]['p50_s']:.2f}" for name, key in both
    )


def main() -> None:
    """Walk every case with alike lengths and with lengths that differ."""
    for case in CASES:
        for sigma in SIGMAS:
            print(f"{' '.join(case.words)}, lengths {'differ' if float(sigma) else 'are alike'}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                for line in walk(case, sigma, Path(folder)):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
