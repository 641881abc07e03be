"""Intervals widen by what is not known, and only by that."""

from __future__ import annotations

import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.planner.certainty import Certainty, load_tag

SEEN = ("gpu:h100-sxm-80gb", "engine:vllm", load_tag("closed_loop"))


@pytest.mark.parametrize("metric", ["ttft_mean_s", "tpot_mean_s", "itl_mean_s", "e2e_mean_s", "requests_per_s"])
def test_every_unknown_widens(metric: str) -> None:
    efficiencies = read_efficiencies()
    known = Certainty(efficiencies=efficiencies, tags=SEEN)
    assert known.spread(metric) > 0
    assert known.spread(metric, 2) >= known.spread(metric, 1) >= known.spread(metric)
    for tags in (("gpu:unheard-of", *SEEN[1:]), (SEEN[0], "engine:unheard-of", SEEN[2])):
        assert Certainty(efficiencies=efficiencies, tags=tags).spread(metric) >= known.spread(metric)


def test_a_figure_lies_in_its_interval() -> None:
    figure = Certainty(efficiencies=read_efficiencies(), tags=SEEN).figure("tpot", 0.02)
    assert figure.low < figure.value == 0.02 < figure.high
