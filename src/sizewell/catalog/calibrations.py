"""Efficiencies as files: what kernels, links and engines reach, kept apart from what makers state."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from sizewell.specs.calibration import Efficiencies, Factor


def read_efficiencies(name: str = "default") -> Efficiencies:
    """Return the shipped efficiencies called `name`; BadInputError if a share lies outside (0, 1]."""
    path = files("sizewell.catalog") / "data" / "calibrations" / f"{name}.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    return Efficiencies(
        name=raw["name"],
        factors=_factors(raw["factors"]),
        overrides={tag: _factors(table) for tag, table in raw.get("overrides", {}).items()},
        scales={tag: _factors(table) for tag, table in raw.get("scales", {}).items()},
        measured=frozenset(raw.get("measured", ())),
    )


def _factors(table: dict[str, dict[str, Any]]) -> dict[str, Factor]:
    return {name: Factor(**fields) for name, fields in table.items()}
