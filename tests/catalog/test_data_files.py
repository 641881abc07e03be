"""Every shipped data file parses, names its sources and stays inside physical bands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

import sizewell

DATA = Path(sizewell.__file__).parent / "catalog" / "data"
GPUS = sorted((DATA / "gpus").glob("*.toml"))
SOURCED_FOLDERS = ("gpus", "nodes", "networks", "hosts", "storage")
SOURCED = sorted(path for folder in SOURCED_FOLDERS for path in (DATA / folder).glob("*.toml"))


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def _origins(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["from"]] if isinstance(node.get("from"), str) else []
        return own + [origin for value in node.values() for origin in _origins(value)]
    if isinstance(node, list):
        return [origin for value in node for origin in _origins(value)]
    return []


@pytest.mark.parametrize("path", SOURCED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_number_names_a_source_of_its_own_file(path: Path) -> None:
    facts = _read(path)
    assert facts["key"] == path.stem
    origins = _origins({k: v for k, v in facts.items() if k != "sources"})
    assert origins
    assert set(origins) <= set(facts["sources"])
    assert all(source["title"] and source["date"] for source in facts["sources"].values())


@pytest.mark.parametrize("path", GPUS, ids=lambda p: p.stem)
def test_memory_and_bandwidth_lie_in_physical_bands(path: Path) -> None:
    memory = _read(path)["memory"]
    assert 4 * 2**30 <= memory["bytes"]["value"] <= 6 * 2**40
    assert 50e9 <= memory["bytes_per_s"]["value"] <= 12e12
    reported = memory.get("reported_bytes")
    assert reported is None or 0.8 < reported["value"] / memory["bytes"]["value"] <= 1.0


def test_there_are_at_least_45_accelerators() -> None:
    assert len(GPUS) >= 45


def test_accelerator_aliases_are_unique() -> None:
    names = [name for path in GPUS for name in (path.stem, *_read(path).get("aliases", []))]
    assert len(names) == len(set(names))


def test_every_model_of_the_index_has_a_config_that_parses() -> None:
    index = tomllib.loads((DATA / "models" / "index.toml").read_text())
    assert len(index) >= 60
    for facts in index.values():
        assert "model_type" in json.loads((DATA / "models" / facts["file"]).read_text())


def test_every_data_file_is_covered_by_a_test() -> None:
    covered = {"gpus", "nodes", "networks", "hosts", "storage", "models", "prices", "quality", "engines", "calibrations"}
    assert {p.name for p in DATA.iterdir()} <= covered
    for folder in ("prices", "quality", "engines"):
        assert all(_read(path) for path in (DATA / folder).glob("*.toml"))
