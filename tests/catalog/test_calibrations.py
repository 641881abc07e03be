"""Every shipped calibration parses, and its shares are shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.specs.calibration import Efficiencies, Factor
from sizewell.specs.errors import BadInputError

FOLDER = Path(__file__).parents[2] / "src" / "sizewell" / "catalog" / "data" / "calibrations"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_every_factor_has_a_source(path: Path) -> None:
    efficiencies = read_efficiencies(path.stem)
    tables = (efficiencies.factors, *efficiencies.overrides.values())
    assert all(factor.source for table in tables for factor in table.values())


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
