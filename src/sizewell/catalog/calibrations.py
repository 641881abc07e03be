"""Efficiencies as files: what kernels, links and engines reach, kept apart from what makers state."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sizewell.catalog.overlay import overlay_folder
from sizewell.catalog.whole_files import whole_file
from sizewell.specs.calibration import Curve, Efficiencies, Factor, Residual
from sizewell.specs.errors import BadInputError

FOLDER = "calibrations"
SHIPPED_NAMES = ("default", "kernels")
NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def read_efficiencies(name: str = "default", *, without: str | None = None) -> Efficiencies:
    """Return the shipped efficiencies called `name`, scaled by the user's own calibrations (but one `without` which).

    Raises BadInputError for a share outside (0, 1] or a calibration of the user's that cannot be read.
    """
    found = _shipped(name)
    for path in _own_files():
        if path.stem == without:
            continue
        found = _scaled(found, path)
    return found


def check_name(name: str) -> None:
    """Refuse what a calibration of a user cannot be called: no plain file name, or what sizewell ships.

    Raises BadInputError.
    """
    if not NAME.fullmatch(name) or name in SHIPPED_NAMES:
        taken = " or ".join(SHIPPED_NAMES)
        raise BadInputError(f"a calibration cannot be called {name!r}: use letters, digits, - and _, not {taken}")


def save_scales(name: str, scales: Mapping[str, Mapping[str, Factor]]) -> Path:
    """Write a calibration into the user's catalogue and return its path; every command then scales by it.

    Raises BadInputError for a name that is no plain file name or that sizewell ships.
    """
    check_name(name)
    lines = [f'name = "{name}"', ""]
    for tag, table in scales.items():
        for factor, scale in table.items():
            lines += [f'[scales."{tag}".{factor}]', f"value = {scale.value:.4g}", f"spread = {scale.spread:.3g}",
                      f"source = {json.dumps(scale.source)}", ""]  # fmt: skip
    path = overlay_folder() / FOLDER / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write("\n".join(lines))
    return path


def _own_files() -> list[Path]:
    return sorted(path for path in (overlay_folder() / FOLDER).glob("*.toml") if path.stem not in SHIPPED_NAMES)


def _scaled(shipped: Efficiencies, path: Path) -> Efficiencies:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        more = {tag: _factors(table) for tag, table in raw["scales"].items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not a calibration ({error}); make it again with sizewell calibrate") from None
    scales = {tag: dict(table) for tag, table in shipped.scales.items()}
    for tag, table in more.items():
        for factor, scale in table.items():
            kept = scales.setdefault(tag, {})
            times = kept[factor].value if factor in kept else 1.0
            kept[factor] = replace(scale, value=scale.value * times)
    parts = {part for tag in more for part in tag.split("+")}
    tags = frozenset(part for part in parts if part.startswith(("gpu:", "engine:")))
    owned = {**shipped.owned, **{tag: (*shipped.owned.get(tag, ()), path.stem) for tag in more}}
    name, measured = f"{shipped.name}+{path.stem}", shipped.measured | tags
    return replace(shipped, name=name, scales=scales, measured=measured, owned=owned)


def _shipped(name: str) -> Efficiencies:
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
