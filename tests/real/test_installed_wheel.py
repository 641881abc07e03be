"""The wheel a user gets: built, installed into an empty environment, and run there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 25


def _run(*command: str | Path) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, cwd="/").stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    _run(sys.executable, "-m", "venv", folder / "venv")
    wheel = next(folder.glob("sizewell-*.whl"))
    _run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", wheel)
    return folder / "venv" / "bin"


def test_the_core_install_is_small(installed: Path) -> None:
    packages = json.loads(_run(installed / "python", "-m", "pip", "list", "--format", "json"))
    names = {package["name"].lower() for package in packages} - {"pip", "setuptools", "wheel"}
    assert "sizewell" in names
    assert len(names) <= MOST_PACKAGES, names


def test_the_command_answers_from_its_own_data(installed: Path) -> None:
    assert _run(installed / "sizewell", "--version").startswith("sizewell ")
    entries = json.loads(_run(installed / "sizewell", "catalog", "gpus", "h200", "--json"))["entries"]
    assert entries[0]["key"] == "h200-sxm-141gb"


def test_the_package_is_marked_as_typed(installed: Path) -> None:
    code = "import sizewell, pathlib; print((pathlib.Path(sizewell.__file__).parent / 'py.typed').exists())"
    assert _run(installed / "python", "-c", code).strip() == "True"
