"""`sizewell calibrate`: what it says, what it keeps and what it refuses to keep."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.point_facts import point_facts
from sizewell.catalog.points import read_point_rows
from sizewell.cli.main import run
from sizewell.planner.point_cases import point_case
from sizewell.planner.validate_points import predict_point
from sizewell.specs.calibration import Efficiencies

COLUMNS = (
    "point_id", "dataset", "engine", "engine_version", "model", "weight_format", "gpu", "num_gpus", "tp", "load",
    "concurrency", "input_tokens", "output_tokens", "tpot_mean_s", "ttft_mean_s",
)  # fmt: skip


def table(path: Path, slower: float, rows: int = 12) -> Path:
    """Write measurements of a machine on which everything takes `slower` times what is predicted."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number in range(rows):
            writer.writerow({
                "point_id": number, "dataset": "own", "engine": "vllm", "engine_version": "0.15.1",
                "model": "meta-llama/Llama-3.1-8B", "weight_format": "bf16", "gpu": "l40s-48gb", "num_gpus": 1, "tp": 1,
                "load": "closed_loop", "concurrency": 2 ** (number % 6), "input_tokens": 500 * (1 + number % 4),
                "output_tokens": 200, "tpot_mean_s": 1, "ttft_mean_s": 1,
            })  # fmt: skip
    measured = []
    for row in read_point_rows(path):
        answers = predict_point(point_case(row, point_facts(row)), read_efficiencies())
        measured.append({a.metric: a.predicted.value * slower for a in answers if a.predicted})
    with path.open(newline="") as file:
        raw = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({**one, **values} for one, values in zip(raw, measured, strict=True))
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "catalog"))
    return tmp_path / "catalog" / "calibrations" / "mine.toml"


def test_a_slow_machine_is_learnt_kept_and_used(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = table(tmp_path / "figures.csv", 1.4)
    assert run(["calibrate", str(figures), "--save", "mine"]) == 0
    assert "held-back figures" in capsys.readouterr().out
    kept: Efficiencies = read_efficiencies()
    assert own.exists()
    assert kept.scales["gpu:l40s-48gb"]["relative_hbm"].value < 0.9
    assert kept.name.endswith("+mine")
    tags = ("gpu:l40s-48gb", "engine:vllm")
    assert (kept.calibrated_by(tags), kept.calibrated_by(("gpu:h100-sxm-80gb", "engine:sglang"))) == (("mine",), ())
    load = ["--users", "4", "--input", "100", "--answer", "20"]
    for words in (["explain"], ["simulate", "--requests", "8"]):
        assert run([*words, "llama-3.1-8b", "--on", "l40s", *load]) == 0
        assert "calibrated by mine of your catalogue" in capsys.readouterr().out
    assert run(["explain", "llama-3.1-8b", "--on", "l40s", *load, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calibrated_by"] == ["mine"] and told["served"]["tpot_s"]["provenance"] == "calibrated"
    assert run(["plan", "llama-3.1-8b", "--gpu", "l40s", *load]) == 0
    assert "Calibrations: mine, of your catalogue" in capsys.readouterr().out
    assert run(["calibrate", str(figures), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["before_fraction"] < 0.1
    assert {item["tag"] for item in document["factors"]} == {"gpu:l40s-48gb", "engine:vllm"}


def test_rows_that_say_nothing_of_use_are_left_out(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row without a load, and one whose only figure is of a kind that is not fitted."""
    figures = table(tmp_path / "figures.csv", 1.4)
    with figures.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert run(["calibrate", str(figures), "--json"]) == 0
    fitted = json.loads(capsys.readouterr().out)
    more = [
        {**rows[0], "point_id": "quiet", "load": ""},
        {**rows[0], "point_id": "bare", "tpot_mean_s": "", "ttft_mean_s": ""},
    ]
    with figures.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*rows, *more])
    assert run(["calibrate", str(figures), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == fitted
    assert "1 of 14 rows left out, the first of them: row quiet: state its load" in said.err


def test_what_does_not_help_is_not_kept(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", str(table(tmp_path / "figures.csv", 1.0)), "--save", "mine"]) == 4
    assert "not saved" in capsys.readouterr().err
    assert not own.exists()


@pytest.mark.parametrize("name", ["default", "kernels", "../up", ""])
def test_a_name_that_is_taken_or_no_name_is_refused(
    name: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", str(table(tmp_path / "figures.csv", 1.4)), "--save", name]) == 2
    assert capsys.readouterr().out == "", "before anything is fitted"
    assert not own.parent.exists()


def test_too_few_figures_and_a_broken_overlay_are_one_clear_line(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", str(table(tmp_path / "figures.csv", 1.4, rows=2))]) == 2
    assert "at least" in capsys.readouterr().err
    figures = table(tmp_path / "more.csv", 1.4)
    own.parent.mkdir(parents=True)
    own.write_text("[scales")
    assert run(["calibrate", str(figures)]) == 2
    assert str(own) in capsys.readouterr().err


def test_every_field_of_an_efficiency_survives_the_overlay(own: Path) -> None:
    assert {f.name for f in fields(read_efficiencies())} >= {"scales", "measured", "curves"}
