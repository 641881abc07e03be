"""Fit the default calibration on published points: `python bench/fit_default_calibration.py [points.csv]`.

Robust least squares on ln(predicted / measured), every data set weighing the same, from fixed starting values and a
belief about how far each factor may lie from them: few factors by structure, never one for a model or a point.
Intervals come from errors of calibrations that never saw the group they are about. Writes the calibration file in
place; the file does not depend on what was there before.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from evidence import DEFAULT, calibrated, cases
from spreads import with_tails

from sizewell.catalog.points import read_point_rows
from sizewell.specs.calibration import Efficiencies


def write(efficiencies: Efficiencies) -> None:
    """Write the calibration file."""
    lines = [
        "# What kernels, links and engines reach of stated rates. Beliefs, not facts: shares lie in (0, 1].",
        "# Names end in their unit. Made from scratch (see docs/cost-model.md) by:",
        "#   python bench/fit_default_calibration.py ../shared/data/points-dev.csv",
        f'name = "{efficiencies.name}"',
        'curves = "kernels"',
        "# Accelerators and engines the evidence came from: predictions for others are less sure.",
        "measured = [",
        *(f'  "{tag}",' for tag in sorted(efficiencies.measured)),
        "]",
        "",
    ]
    tables = {"factors": efficiencies.factors}
    tables |= {f'overrides."{tag}"': table for tag, table in efficiencies.overrides.items()}
    tables |= {f'scales."{tag}"': table for tag, table in efficiencies.scales.items()}
    for prefix, table in tables.items():
        for name, factor in table.items():
            lines += [f"[{prefix}.{name}]", f"value = {factor.value:.4g}", f"spread = {factor.spread:.2g}",
                      f'source = "{factor.source}"', ""]  # fmt: skip
    path = files("sizewell.catalog") / "data" / "calibrations" / "default.toml"
    Path(str(path)).write_text("\n".join(lines))


if __name__ == "__main__":
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    ready, _ = cases(read_point_rows(table))
    write(with_tails(calibrated(ready).everything, ready))
