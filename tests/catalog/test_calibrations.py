"""Every shipped calibration parses, and its shares are shares."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest

from sizewell.catalog.calibrations import read_curves, read_efficiencies
from sizewell.specs.calibration import LINK_PARAMETERS, Curve, Efficiencies, Factor, matching_curve
from sizewell.specs.errors import BadInputError

FOLDER = Path(__file__).parents[2] / "src" / "sizewell" / "catalog" / "data" / "calibrations"


RAW = {path.stem: tomllib.loads(path.read_text()) for path in sorted(FOLDER.glob("*.toml"))}


@pytest.mark.parametrize("name", [name for name, raw in RAW.items() if "factors" in raw])
def test_every_factor_has_a_source(name: str) -> None:
    efficiencies = read_efficiencies(name)
    tables = (efficiencies.factors, *efficiencies.overrides.values())
    assert all(factor.source for table in tables for factor in table.values())


@pytest.mark.parametrize("name", [name for name, raw in RAW.items() if "factors" not in raw])
def test_every_curve_has_a_source_a_spread_and_serves_all_machines(name: str) -> None:
    curves = read_curves(name)
    for table in curves.values():
        assert "" in table
        assert all(curve.source and curve.spread > 0 for curve in table.values())


def test_the_residuals_cover_every_measured_class() -> None:
    measured = {row["class"] for row in csv.DictReader((FOLDER / "kernels-residuals.csv").open())}
    fitted = {
        name
        for name, table in read_curves("kernels").items()
        if any("aiconfigurator" in curve.source for curve in table.values())
    }
    assert measured == fitted


def test_a_share_of_a_curve_above_one_is_refused() -> None:
    good = next(iter(read_curves("kernels")["send"].values()))
    with pytest.raises(BadInputError, match="large_share of a curve is 1"):
        Curve(parameters={**good.parameters, "large_share": 1.5}, spread=0.1, source="wrong")


def test_the_last_curve_whose_tags_all_match_wins() -> None:
    one, two, three = (
        Curve(parameters={**dict.fromkeys(LINK_PARAMETERS, 0.5), "fixed_s": seconds}, spread=0.1, source="s")
        for seconds in (1, 2, 3)
    )
    curves = {"send": {"": one, "vendor:a": two, "vendor:a+engine:b": three}}
    assert matching_curve(curves, "send", ["vendor:z", "engine:b"]) is one
    assert matching_curve(curves, "send", ["vendor:a"]) is two
    assert matching_curve(curves, "send", ["vendor:a", "engine:b"]) is three


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(BadInputError, match="hbm_gemm is 1"):
        Efficiencies(name="x", factors={"hbm_gemm": Factor(value=1.2, spread=0.1, source="wrong")})


def test_the_last_matching_tag_wins() -> None:
    half, third = (Factor(value=v, spread=0, source="s") for v in (0.5, 0.3))
    efficiencies = Efficiencies(
        name="x", factors={"hbm_gemm": half}, overrides={"vendor:amd": {"hbm_gemm": third}}
    )  # fmt: skip
    assert efficiencies.value("hbm_gemm", ["vendor:amd"]) == 0.3
    assert efficiencies.value("hbm_gemm", ["vendor:nvidia"]) == 0.5


def test_higher_percentiles_are_larger() -> None:
    factors = read_efficiencies().factors
    for kind in ("ttft", "tpot"):
        tails = [factors[f"{kind}_{statistic}_ratio"].value for statistic in ("median", "p90", "p95", "p99")]
        assert tails == sorted(tails)
