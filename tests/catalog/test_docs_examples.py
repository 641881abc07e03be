"""The files printed in docs/catalogue.md are read as they stand there, so that the page cannot age."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sizewell.catalog.hardware import cluster, nodes_for, read_gpu
from sizewell.catalog.overlay import SHIPPED, VARIABLE
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.specs.errors import BadInputError

PAGE = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text()
FILES = re.findall(r"`((?:gpus|nodes|prices|quality)/[a-z0-9-]+\.toml)`[^`]*?```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a catalogue that holds every file of the page."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_the_page_prints_a_file_of_each_kind() -> None:
    assert len(FILES) == PAGE.count("```toml")
    assert [name for name, _ in FILES] == [
        "gpus/lab-48gb.toml",
        "nodes/lab-4.toml",
        "prices/our-contract.toml",
        "prices/service-units.toml",
        "quality/mxfp4.toml",
    ]


def test_the_accelerator_and_its_node(as_printed: Path) -> None:
    gpu = read_gpu("Lab")
    assert (gpu.key, gpu.flops_per_s["fp8"], gpu.reported_bytes) == ("lab-48gb", 7.2e14, 47.64e9)
    assert nodes_for(gpu)[0].key == "lab-4"
    assert {"workstation", "desktop", "pcie-server"} <= {node.key for node in nodes_for(gpu)}
    pair = cluster("lab", gpus_per_node=4, nodes=2)
    assert (pair.node.key, pair.gpus, pair.node.host.key) == ("lab-4", 8, "epyc-9654-512gb")


def test_the_prices(as_printed: Path) -> None:
    book = read_prices()
    rent = book.rent("h100-sxm-80gb", "reserved-1y")
    assert rent is not None
    assert (rent.usd_per_gpu_hour, rent.provider, book.power_usd_per_kwh) == (1.85, "our-host", 0.11)
    capital = book.capital(cluster("lab", gpus_per_node=4).node, "lab-48gb", 4)
    assert capital is not None
    assert capital.usd > 4 * 7000
    assert book.tariff.units_per_gpu_hour("h100-sxm-80gb") == 3.2
    assert book.tariff.units_per_gpu_hour("lab-48gb") == 2
    assert not book.tariff.example


def test_the_quality(as_printed: Path) -> None:
    recovery = read_quality().recovery("mxfp4", "Qwen/Qwen3-8B")
    assert recovery is not None
    assert recovery.fraction == pytest.approx(60.8 / 62.0, abs=1e-4)


def test_the_error_line_is_the_one_that_is_raised(as_printed: Path) -> None:
    printed = next(line for line in PAGE.splitlines() if line.strip().startswith("…/gpus/"))
    broken = as_printed / "gpus" / "lab-48gb.toml"
    broken.write_text(broken.read_text().replace('{ value = 9.6e11, from = "datasheet" }', "9.6e11"))
    with pytest.raises(BadInputError) as caught:
        read_gpu("lab-48gb")
    assert str(caught.value).endswith(printed.strip().removeprefix("…"))


def test_the_model(tmp_path: Path) -> None:
    printed = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(printed) == 1
    models = pytest.importorskip("sizewell.catalog.models")
    path = tmp_path / "config.json"
    path.write_text(printed[0])
    assert json.loads(printed[0])["num_hidden_layers"] == len(models.read_model(str(path)).layers)


def test_every_folder_of_the_table_exists() -> None:
    folders = re.findall(r"^\| `(\w+)/` \|.*\| `([\w.-]+)` \|$", PAGE, re.MULTILINE)
    assert len(folders) == 9
    assert all((SHIPPED / folder / f"{key}.toml").exists() for folder, key in folders)
