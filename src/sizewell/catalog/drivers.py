"""Which CUDA an engine's releases are built for, and the oldest driver that runs it."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sizewell.specs.engine import EngineName
from sizewell.specs.release import release_numbers

_FILE = files("sizewell.catalog") / "data" / "drivers" / "nvidia.toml"


def cuda_of(engine: EngineName, version: str) -> str | None:
    """Return the CUDA an engine's release is built for, `12.8`; None for an engine or a release nobody looked up."""
    wanted = release_numbers(version)
    known = [
        row for row in _facts()["built_for"] if row["engine"] == engine and release_numbers(row["release"]) <= wanted
    ]
    return max(known, key=lambda row: release_numbers(row["release"]))["cuda"] if known else None


def least_drivers() -> dict[int, str]:
    """Return the oldest driver that runs anything built for a major release of CUDA."""
    return {int(row["cuda_major"]): row["driver"] for row in _facts()["least_driver"]}


@cache
def _facts() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text())
