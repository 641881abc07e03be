"""What `measure` finds on this processor, calibrated, predicts what a second session finds."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
pytest.importorskip("torch")
TRIES = 3
"""Sessions: on a processor shared with others one alone may say too little, and is then refused."""
NOT_SAVED = 4


def sizewell(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a catalogue and records of its own."""
    own = {"SIZEWELL_CATALOG": str(folder / "catalogue"), "SIZEWELL_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "sizewell", *words], cwd=folder, env={**os.environ, **own}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip


def measured(folder: Path, name: str, *more: str) -> Path:
    short = ("--quick", "--seconds", "20", "--device", "cpu", "--only", "memory,gemm")
    said = sizewell(folder, "measure", *short, "--out", name, *more)
    assert said.returncode == 0, said.stderr
    return folder / name


def mean_error(folder: Path, file: Path) -> float:
    """Return the mean |ln(predicted / measured)| of products in the type models run in."""
    assert sizewell(folder, "validate", str(file), "--predictions", "out.csv").returncode == 0
    with (folder / "out.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["point_id"].split()[1:4] == ["gemm", "gemm", "bf16"]]
    return sum(abs(math.log(float(row["predicted"]) / float(row["measured"]))) for row in rows) / len(rows)


def test_a_measured_processor_is_predicted_better_in_the_next_session(tmp_path: Path) -> None:
    files = [str(measured(tmp_path, "first.csv", "--save"))]
    said = sizewell(tmp_path, "calibrate", *files, "--save", "mine")
    while said.returncode == NOT_SAVED and len(files) < TRIES:
        assert not (tmp_path / "catalogue" / "calibrations").exists()
        files.append(str(measured(tmp_path, f"more{len(files)}.csv")))
        said = sizewell(tmp_path, "calibrate", *files, "--save", "mine")
    assert said.returncode == 0, said.stderr
    calibration = tmp_path / "catalogue" / "calibrations" / "mine.toml"
    second = measured(tmp_path, "second.csv")
    after = mean_error(tmp_path, second)
    calibration.unlink()
    assert after < mean_error(tmp_path, second)
