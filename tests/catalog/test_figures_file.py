"""Figures survive the file, broken files are named by line, an unknown machine becomes a file the catalogue reads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sizewell.catalog.facts import Facts
from sizewell.catalog.figures_file import FIGURE_COLUMNS, is_figures_header, read_figures, write_figures
from sizewell.catalog.gpu_file import gpu_file_text
from sizewell.catalog.hardware import read_gpu
from sizewell.catalog.machines import gpu_from
from sizewell.specs.errors import BadInputError
from sizewell.specs.machine_figure import MachineFigure, Probe

FIGURE = MachineFigure(
    machine="h200-sxm-141gb",
    probe=Probe(kind="gemm", op="gemm", dtype="bf16", shape={"m": 16, "n": 4096, "k": 4096}),
    kernel="mm", seconds=1.25e-5, repeats=50, spread_fraction=0.02, flops_per_s=4.25e13, bytes_per_s=2.5e12,
    versions="torch 2.13.0; cuda 13.0, driver", command="sizewell measure", date="2026-11-21",
    remark='throttled by "heat"', partial=True,
)  # fmt: skip
LAYERS = replace(
    FIGURE,
    partial=False,
    probe=Probe(kind="layers", op="decode", dtype="bf16", shape={"layers": 2, "sequences": 8}, model="Qwen/Qwen3-32B"),
)
HEADER = "machine,kind,op,dtype,shape,seconds"


def test_figures_survive_the_file(tmp_path: Path) -> None:
    write_figures(tmp_path / "f.csv", [FIGURE, LAYERS])
    assert read_figures(tmp_path / "f.csv") == (FIGURE, LAYERS)
    assert os.listdir(tmp_path) == ["f.csv"]


def test_the_file_has_the_documented_columns(tmp_path: Path) -> None:
    write_figures(tmp_path / "f.csv", [FIGURE])
    header = (tmp_path / "f.csv").read_text().splitlines()[0].split(",")
    page = (Path(__file__).parents[2] / "docs" / "measure.md").read_text()
    assert tuple(header) == FIGURE_COLUMNS
    assert is_figures_header(header)
    assert [name for name in header if f"| `{name}` |" not in page] == []


def test_the_least_a_file_needs(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(f"{HEADER}\nmine,gemm,gemm,bf16,m=1 n=2 k=3,0.5\n")
    (figure,) = read_figures(tmp_path / "f.csv")
    assert figure.probe.shape == {"m": 1, "n": 2, "k": 3}
    assert (figure.repeats, figure.partial, figure.flops_per_s) == (1, False, 0.0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("mine,guess,gemm,bf16,m=1,0.5", "line 2: kind 'guess' is none of"),
        ("mine,gemm,gemm,bf16,m=1,0", "line 2: seconds '0' is no positive number"),
        ("mine,gemm,gemm,bf16,m=1,nan", "line 2: seconds 'nan'"),
        ("mine,gemm,gemm,bf16,m=0,1", "line 2: shape 'm=0' has a size below 1"),
        ("mine,gemm,gemm,bf16,m=x,1", "line 2: invalid literal"),
        ("mine,gemm,gemm,bf16,m=1,", "line 2: seconds ''"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    (tmp_path / "f.csv").write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(BadInputError, match=words):
        read_figures(tmp_path / "f.csv")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"\x00"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(BadInputError, match=r"f\.csv"):
        read_figures(tmp_path / "f.csv")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="name another file"):
        write_figures(tmp_path / "nowhere" / "f.csv", [FIGURE])


def test_a_written_accelerator_is_read_back(tmp_path: Path) -> None:
    known = replace(
        read_gpu("h200"), key="mine", reported_bytes=None, scale_up=None, scale_up_bytes_per_s=None, host_link=None,
        host_link_bytes_per_s=None, aliases=(), memory_bytes=150.8e9, l2_bytes=5.2e7,
    )  # fmt: skip
    (tmp_path / "gpus").mkdir()
    file = tmp_path / "gpus" / "mine.toml"
    file.write_text(gpu_file_text(known, "measured here", "2026-11-21"))
    facts = Facts.read(file)
    facts.only_known()
    back = gpu_from(facts)
    assert back.flops_per_s == pytest.approx(known.flops_per_s, rel=1e-3)
    assert replace(back, flops_per_s=known.flops_per_s, launch_date=known.launch_date) == known
