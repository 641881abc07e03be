"""`sizewell calibrate FIGURES.csv`: what `measure` wrote, learnt where it speaks of engines, else left alone."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import sizewell
from sizewell.calibrator.probe_grid import Scope, probes
from sizewell.calibrator.side_by_side import predict_probe
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.figures_file import write_figures
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.specs.calibration import Factor
from sizewell.specs.machine_figure import FigureKind, MachineFigure

Say = Callable[..., Any]
KEY = "l40s-48gb"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
KINDS: tuple[FigureKind, ...] = ("memory", "gemm", "attention", "launch", "copy")
SCOPE = Scope(device="gpu", memory_bytes=48e9, devices=1, dtypes=("bf16",), small=True, kinds=KINDS)
SLOW = {"relative_flops": 0.75, "relative_hbm": 0.8}
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "calibrate.json").read_text())


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, say: Say) -> Path:
    """Return the user's own catalogue, empty; the records are empty too."""
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "catalogue"))
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    return tmp_path / "catalogue"


def measured(hidden: dict[str, float], noise: float = 0.02, seed: int = 1) -> list[MachineFigure]:
    """Return what `measure` would find where the machine has hidden factors."""
    shipped, rng, models = read_efficiencies(), np.random.default_rng(seed), {MODEL: read_model(MODEL)}
    table = {name: Factor(value=value, spread=0.1, source="hidden") for name, value in hidden.items()}
    truth, place = replace(shipped, scales={**shipped.scales, f"gpu:{KEY}": table}), cluster(KEY, gpus_per_node=1)
    found = []
    layers = probes(replace(SCOPE, quick=True, kinds=("layers",)), models)
    for probe in (*probes(SCOPE, models), *layers):
        predicted = predict_probe(probe, place, truth, models)
        seconds = (predicted.seconds if predicted else 5e-6) * float(np.exp(rng.normal(0, noise)))
        found.append(MachineFigure(
            machine=KEY, probe=probe, kernel="", seconds=seconds, repeats=9, spread_fraction=0.02, flops_per_s=0.0,
            bytes_per_s=0.0, versions="torch", command="sizewell measure", date="2026-11-29",
        ))  # fmt: skip
    return found


def written(path: Path, figures: Sequence[MachineFigure]) -> Path:
    write_figures(path, figures)
    return path


def scales(document: Any) -> dict[str, float]:
    return {item["factor"]: item["scale"] for item in document["factors"]}


def test_a_slow_machine_is_learnt_kept_and_predicts_the_next_session(say: Say, own: Path, tmp_path: Path) -> None:
    file, again = (written(tmp_path / f"f{seed}.csv", measured(SLOW, seed=seed)) for seed in (1, 2))
    before = say("validate", again, "--json").document["balanced"][0]["median_error_fraction"]
    said = say("calibrate", file, "--save", "mine", "--json")
    assert said.code == 0, said.err
    jsonschema.Draft202012Validator(SCHEMA).validate(said.document)
    assert said.document["about"] == KEY
    for name, value in SLOW.items():
        assert scales(said.document)[name] == pytest.approx(value, rel=0.08)
    rows = said.document["rows"]
    assert all(row["row"].startswith(("f1.csv ",)) for row in rows)
    assert {row["row"].split()[2] for row in rows} == {"gemm", "launch", "copy"}
    assert sum(row["held_back"] for row in rows) == said.document["held_back"]
    assert "mine" in say("runs", "list", "--of", "calibrations").out
    saved = tomllib.loads((own / "calibrations" / "mine.toml").read_text())
    assert saved["scales"][f"gpu:{KEY}"]["relative_hbm"]["source"].startswith("sizewell calibrate f1.csv: ")
    after = say("validate", again, "--json").document["balanced"][0]["median_error_fraction"]
    assert before > 0.15
    assert after < 0.05


def test_kernels_that_only_bound_an_engine_move_nothing(say: Say, own: Path, tmp_path: Path) -> None:
    figures = measured(SLOW)
    unlike = ("attention", "layers", "memory")
    slow = [replace(f, seconds=f.seconds * 9) if f.probe.kind in unlike else f for f in figures]
    one = say("calibrate", written(tmp_path / "a.csv", figures), "--json").document
    other = say("calibrate", written(tmp_path / "b.csv", slow), "--json").document
    assert scales(one) == scales(other)
    why = {kind["kind"]: kind["why"] for kind in other["kinds"]}
    assert "bound" in why["attention"]
    assert why["gemm"] == ""


def test_noise_is_not_saved(say: Say, own: Path, tmp_path: Path) -> None:
    said = say("calibrate", written(tmp_path / "f.csv", measured({}, noise=0.3)), "--save", "mine")
    assert said.code == 4
    assert "not saved" in said.err
    assert "held-back figures" in said.out
    assert not own.exists()


def test_a_calibration_is_not_put_under_another_of_the_machine(say: Say, own: Path, tmp_path: Path) -> None:
    """One from runs was fitted on top of the kernels as they were: both would correct the same."""
    file = written(tmp_path / "f.csv", measured(SLOW))
    folder = own / "calibrations"
    folder.mkdir(parents=True)
    (folder / "runs.toml").write_text(
        f'name = "runs"\n[scales."gpu:{KEY}+engine:vllm".relative_hbm]\nvalue = 0.8\nspread = 0.1\nsource = "runs"\n'
    )
    said = say("calibrate", file, "--save", "mine")
    assert said.code == 2
    assert "twice" in said.err
    assert say("calibrate", file, "--save", "runs").code == 0
    assert say("calibrate", file, "--save", "runs").code == 0


def test_what_cannot_be_meant_is_one_line(say: Say, own: Path, tmp_path: Path) -> None:
    figures = measured(SLOW)
    file = written(tmp_path / "f.csv", figures)
    points = tmp_path / "points.csv"
    points.write_text("point_id,model,gpu,num_gpus,load\n")
    memory = tmp_path / "memory.csv"
    memory.write_text("point_id,engine,model_hf_id,metric,value\n")
    other = written(tmp_path / "g.csv", [replace(figure, machine="h200-sxm-141gb") for figure in figures])
    strange = written(tmp_path / "h.csv", [replace(figure, machine="paper-tiger") for figure in figures])
    few = written(tmp_path / "few.csv", figures[:3])
    for words, expected in (
        ((file, points), "calibrate the figures first"), ((memory,), "validated, not calibrated"),
        ((file, other), "one machine at a time"), ((strange,), "sizewell measure --save"),
        ((few,), "measure 6 or more"), ((written(tmp_path / "none.csv", []),), "no figures"),
    ):  # fmt: skip
        said = say("calibrate", *words)
        assert (said.code, len(said.err.splitlines()), said.out) == (2, 1, ""), said.err
        assert expected in said.err
