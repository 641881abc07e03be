"""The order of the rooms is kept, and the contract that keeps it names every room of the core."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ROOT / "src" / "sizewell"
CORE = ("specs", "traffic", "costs", "simulator", "planner", "advisor", "calibrator")
EDGE = ("catalog", "records", "deployer", "driver", "observer", "emulator")
DOORS = ("cli", "web")
FORBIDDEN_IN_CORE = {"asyncio", "aiohttp", "os", "pathlib", "sqlite3", "subprocess", "time", "tomllib"}


def _contracts() -> list[dict[str, Any]]:
    contracts: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    return contracts


def _lint(arguments: list[str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_import_contract_holds() -> None:
    result = _lint(["--no-cache"])
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]


def test_every_room_is_one_the_design_names() -> None:
    rooms = {path.name for path in ROOMS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= {*CORE, *EDGE, *DOORS}
    assert {path.name for path in ROOMS.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_purity_contract_covers_every_core_room_there_is() -> None:
    purity = next(contract for contract in _contracts() if contract["type"] == "forbidden")
    assert set(purity["forbidden_modules"]) == FORBIDDEN_IN_CORE
    assert set(purity["source_modules"]) == {f"sizewell.{room}" for room in CORE if (ROOMS / room).exists()}


def test_the_layers_are_exhaustive_and_in_the_order_of_the_design() -> None:
    layers = next(contract for contract in _contracts() if contract["type"] == "layers")
    named = [[room.strip(" ()") for room in layer.split("|")] for layer in layers["layers"]]
    assert layers["exhaustive"] is True
    above_the_simulator = ["advisor", "calibrator", "planner"]
    below = [["simulator"], ["costs"], ["traffic"], ["specs"]]
    assert [sorted(layer) for layer in named] == [sorted(DOORS), sorted(EDGE), above_the_simulator, *below]


@pytest.mark.parametrize(
    ("room", "line"),
    [("specs", "import os"), ("specs", "import sizewell.catalog"), ("utils", ""), ("traffic", "import sizewell.cli")],
)
def test_a_breach_is_found(tmp_path: Path, room: str, line: str) -> None:
    """A copy of the contract over a house with one breach fails: the contract is not a decoration."""
    for name in ("specs", "traffic", "catalog", "cli", "costs", "simulator", "planner", "calibrator", room):
        (tmp_path / "sizewell" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sizewell" / name / "__init__.py").write_text("")
    (tmp_path / "sizewell" / "__init__.py").write_text("")
    (tmp_path / "sizewell" / room / "breach.py").write_text(line + "\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    lint = "from importlinter.cli import lint_imports_command as c; c()"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {lint}"
    result = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "BROKEN" in result.stdout, result.stdout + result.stderr
