"""Efficiencies as files: what kernels, links and engines reach, kept apart from what makers state."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sizewell.specs.calibration import Curve, Efficiencies, Factor

FOLDER = "calibrations"


def read_efficiencies(name: str = "default") -> Efficiencies:
    """Return the shipped efficiencies called `name`; BadInputError if a share lies outside (0, 1]."""
    raw = _read(name)
    return Efficiencies(
        name=raw["name"],
        factors=_factors(raw["factors"]),
        overrides={tag: _factors(table) for tag, table in raw.get("overrides", {}).items()},
        scales={tag: _factors(table) for tag, table in raw.get("scales", {}).items()},
        measured=frozenset(raw.get("measured", ())),
        curves=read_curves(raw["curves"]),
    )


@cache
def read_curves(name: str) -> dict[str, dict[str, Curve]]:
    """Return the shipped curves of kernels and collectives called `name`, by class and tag."""
    return {
        kind: {tag: _curve(fields) for tag, fields in table.items()} for kind, table in _read(name)["curves"].items()
    }


def _read(name: str) -> dict[str, Any]:
    path = files("sizewell.catalog") / "data" / FOLDER / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _curve(fields: dict[str, Any]) -> Curve:
    described = {"spread", "source"}
    return Curve(
        parameters={name: float(value) for name, value in fields.items() if name not in described},
        spread=fields["spread"],
        source=fields["source"],
    )


def _factors(table: dict[str, dict[str, Any]]) -> dict[str, Factor]:
    return {name: Factor(**fields) for name, fields in table.items()}
