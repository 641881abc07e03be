"""`sizewell measure` on a machine that exists only on paper: what it shows, writes and ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from sizewell.calibrator.side_by_side import side_by_side
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.figures_file import read_figures, write_figures
from sizewell.catalog.hardware import cluster
from sizewell.cli import measure
from sizewell.cli.measure import Answer
from sizewell.observer.measure.device import Device
from sizewell.observer.measure.session import LeftOut, Measured
from sizewell.specs.hardware import GpuKind
from sizewell.specs.machine_figure import MachineFigure, Probe

Say = Callable[..., Any]
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "measure.json").read_text())
DEVICE = Device(
    backend="cuda", kind="gpu", vendor="nvidia", name="NVIDIA H200", memory_bytes=150119844413.0, free_bytes=149e9,
    cache_bytes=6e7, count=1, capability="9.0", cores=0, versions="torch 2.13.0; cuda 13.0",
)  # fmt: skip
PAPER = replace(DEVICE, name="Paper Tiger 3000", capability="19.0", memory_bytes=64e9)


def _figure(probe: Probe, seconds: float, flops_per_s: float, bytes_per_s: float) -> MachineFigure:
    return MachineFigure(
        machine="h200-sxm-141gb", probe=probe, kernel="paper", seconds=seconds, repeats=50, spread_fraction=0.02,
        flops_per_s=flops_per_s, bytes_per_s=bytes_per_s, versions="torch", command="sizewell measure",
        date="2026-11-21",
    )  # fmt: skip


FIGURES = (
    _figure(Probe(kind="memory", op="copy", dtype="fp32", shape={"bytes": 2**30}), 5e-4, 0.0, 4.3e12),
    _figure(Probe(kind="gemm", op="gemm", dtype="bf16", shape={"m": 4096, "n": 8192, "k": 8192}), 7.5e-4, 7.3e14, 4e11),
    _figure(Probe(kind="launch", op="eager-kernel", dtype=""), 4e-6, 0.0, 0.0),
    _figure(
        Probe(
            kind="layers", op="decode", dtype="bf16", model="meta-llama/Llama-3.1-8B-Instruct",
            shape={"layers": 4, "sequences": 128, "context_tokens": 4096},
        ),
        2.4e-3, 1e14, 3e12,
    ),
)  # fmt: skip


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that puts a finished session in place of a real one."""

    def put(device: Device = DEVICE, *, partial: bool = False, figures: tuple[MachineFigure, ...] = FIGURES) -> Path:
        out = tmp_path / "figures.csv"

        def measured(given: dict[str, Any]) -> Answer:
            known = measure._known(device, given["name"])
            left = LeftOut(kind="gemm", op="gemm", dtype="int8", reason="no time left for it", probes=7)
            session = Measured(
                figures=tuple(replace(figure, partial=partial) for figure in figures), left_out=(left,),
                remark="shared with other work: load 7.1 on 2 threads before measuring",
            remarks={"gemm": "throttled by power cap in 3 of 40 samples, down to 1410 MHz"}, partial=partial,
                wall_s=61.5,
            )  # fmt: skip
            write_figures(out, session.figures)
            bare = Answer(
                device=device, machine=known.key if known else "paper-tiger-3000-64gb",
                cluster=measure._cluster(known, 1) if known else None, catalogue_files={}, out=out, measured=session,
                rows=(), missing_types={"fp8": "no kernel"},
            )  # fmt: skip
            return measure._compared(bare, measure._models(("layers",)))

        monkeypatch.setattr(measure, "_measured", measured)
        return out

    return put


@pytest.mark.parametrize("device", [DEVICE, PAPER], ids=["known", "unknown"])
def test_the_document_obeys_its_schema(say: Say, paper: Callable[..., Path], device: Device) -> None:
    paper(device)
    said = say("measure", "--json")
    jsonschema.Draft202012Validator(SCHEMA).validate(said.document)
    assert said.code == 0
    assert said.document["in_catalogue"] is (device is DEVICE)
    assert len(said.document["figures"]) == len(FIGURES)
    assert said.document["figures"][2]["predicted_s"] is None


def test_predictions_are_those_of_the_cost_model(say: Say, paper: Callable[..., Path]) -> None:
    paper()
    shown = [figure["predicted_s"] for figure in say("measure", "--json").document["figures"]]
    rows = side_by_side(
        FIGURES, cluster("h200", gpus_per_node=1), read_efficiencies(), measure._models(("layers",))
    )  # fmt: skip
    assert shown == [pytest.approx(row.predicted.seconds) if row.predicted else None for row in rows]


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_the_tables_fit_a_hundred_columns(say: Say, paper: Callable[..., Path], flags: tuple[str, ...]) -> None:
    paper(PAPER)
    out = say("measure", *flags).out
    assert max(len(line) for line in out.splitlines()) <= 100
    for words in (
        "Llama-3.1-8B",
        "shared with other work",
        "throttled by power cap",
        "left out: 7 × gemm gemm int8",
        "fp8 is not supported here",
    ):
        assert words in out


@pytest.mark.parametrize(("kind", "files"), [("gpu", 1), ("unified", 2), ("cpu", 2)])
def test_an_unknown_machine_comes_as_files_a_catalogue_takes(
    say: Say, paper: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: GpuKind, files: int
) -> None:
    paper(replace(PAPER, kind=kind, cores=8, vendor="cpu" if kind == "cpu" else "nvidia"))
    written = say("measure", "--json").document["catalogue_files"]
    assert len(written) == files
    shown = say("measure").out
    for each in written:
        assert each["text"] in shown
        (tmp_path / each["path"]).parent.mkdir(exist_ok=True)
        (tmp_path / each["path"]).write_text(each["text"])
    key = Path(written[0]["path"]).stem
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path))
    cards = subprocess.run(
        [sys.executable, "-m", "sizewell", "explain", "qwen3-0.6b", "--on", key],
        capture_output=True,
        text=True,
        check=False,
    )  # in a process of its own: files are listed once a process
    assert cards.returncode == 0, cards.stderr


def test_a_session_cut_short_ends_with_130_and_says_so(say: Say, paper: Callable[..., Path]) -> None:
    out = paper(partial=True)
    said = say("measure")
    assert said.code == 130
    assert "(partial)" in said.out
    assert all(figure.partial for figure in read_figures(out))


def test_nothing_measured_is_a_failure(say: Say, paper: Callable[..., Path]) -> None:
    paper(figures=())
    assert say("measure", "--json").code == 1


def test_without_streams_and_products_an_unknown_machine_has_no_predictions(
    say: Say, paper: Callable[..., Path]
) -> None:
    paper(PAPER, figures=FIGURES[3:])
    assert "No predictions: the catalogue lacks this machine" in say("measure").out
    document = say("measure", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["catalogue_files"], document["figures"][0]["ratio"]) == ([], None)


def test_a_machine_named_on_the_line_is_taken(say: Say, paper: Callable[..., Path]) -> None:
    paper(PAPER)
    assert say("measure", "--on", "h100", "--json").document["machine"] == "h100-sxm-80gb"


def test_without_pytorch_it_is_one_line_and_code_2(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    said = say("measure")
    assert said.code == 2
    assert "pip install 'sizewell[measure]'" in said.complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--only", "gem"), "unknown kind of figure 'gem'; did you mean gemm"),
        (("--only", ","), "unknown kind of figure"),
        (("--seconds", "0"), "--seconds"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_what_cannot_be_meant_is_refused(say: Say, words: tuple[str, ...], complaint: str) -> None:
    said = say("measure", *words)
    assert said.code == 2
    assert complaint in said.complaint


@pytest.mark.parametrize(
    ("name", "gib", "key"),
    [
        ("NVIDIA H200", 139.8, "h200-sxm-141gb"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "a100-sxm-40gb"),
        ("AMD Instinct MI300X", 191.98, "mi300x-192gb"),
        ("NVIDIA GeForce RTX 4090", 23.6, "rtx-4090-24gb"),
    ],
)
def test_devices_are_found_by_what_they_call_themselves(name: str, gib: float, key: str) -> None:
    known = measure._known(replace(DEVICE, name=name, memory_bytes=gib * 2**30), None)
    assert known is not None
    assert known.key == key


def test_a_processor_is_never_taken_for_one_of_its_name() -> None:
    assert measure._known(replace(DEVICE, kind="cpu", name="Intel(R) Xeon(R) Platinum 8480+"), None) is None


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--out"):
        measure._check_place(tmp_path / "nowhere" / "f.csv")
    measure._check_place(tmp_path / "f.csv")
    assert os.listdir(tmp_path) == []


def test_a_file_of_figures_can_be_validated(say: Say, paper: Callable[..., Path]) -> None:
    out = paper()
    shown = say("measure", "--json").document["reach"]
    document = say("validate", str(out), "--json").document
    assert (document["kind"], document["figures"]) == ("figures", len(FIGURES))
    bias = {tuple(row["group"])[1:3]: row["bias_fraction"] for row in document["by_group"]}
    for row in shown:
        expected = None if row["median_ratio"] is None else pytest.approx(row["median_ratio"] - 1)
        assert bias[row["kind"], row["op"]] == expected


def test_figures_of_a_machine_nobody_described_are_unanswered(say: Say, tmp_path: Path) -> None:
    write_figures(tmp_path / "f.csv", [replace(FIGURES[1], machine="paper-tiger")])
    (row,) = say("validate", str(tmp_path / "f.csv"), "--json").document["by_metric"]
    assert (row["count"], row["unanswered"]) == (0, 1)
