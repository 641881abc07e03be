"""Efficiencies as files: what kernels, links and engines reach, kept apart from what makers state."""

from __future__ import annotations

import csv
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sizewell.specs.calibration import Curve, Efficiencies, Factor, Residual

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


@cache
def read_residuals(name: str = "kernels") -> tuple[Residual, ...]:
    """Return how far the shipped curves called `name` are off what they were fitted to, table by table."""
    path = files("sizewell.catalog") / "data" / FOLDER / f"{name}-residuals.csv"
    with path.open(encoding="utf-8") as lines:
        return tuple(_residual(row) for row in csv.DictReader(lines))


def _residual(row: dict[str, str]) -> Residual:
    left_out = [float(text) if (text := row[f"left_out_{which}_ln"]) else None for which in ("median", "p80")]
    return Residual(
        kind=row["class"], gpu=row["gpu"], engine=row["engine"], engine_version=row["engine_version"],
        rows=int(row["rows"]), median_ln=float(row["median_ln"]), p80_ln=float(row["p80_ln"]),
        bias_ln=float(row["bias_ln"]), left_out_median_ln=left_out[0], left_out_p80_ln=left_out[1],
    )  # fmt: skip


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
