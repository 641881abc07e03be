"""A job whose time does not cover the predicted start is told so."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest

from sizewell.deployer.launch import Launch
from sizewell.deployer.slurm import NOTICE_S
from sizewell.deployer.slurm_queue import seconds
from sizewell.deployer.slurm_time import short_of_time


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 1800), ("30:15", 1815), ("1:30:15", 5415), ("2-3", 183600), ("2-03:30", 185400), ("1-00:00:01", 86401),
        ("UNLIMITED", None), ("INFINITE", None), ("soon", None), ("1:2:3:4", None),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_reads_them(text: str, value: float | None) -> None:
    assert seconds(text) == value


def test_it_is_said_below_the_slowest_storage_and_worse_below_the_fastest(one_node: Launch) -> None:
    colds = sorted((load.cold_s, load.storage) for load in one_node.materials.loads)

    def said(usable_s: float) -> str:
        minutes, rest_s = divmod(ceil(usable_s + NOTICE_S), 60)
        asked = replace(one_node.site.slurm, time=f"{minutes}:{rest_s:02}")
        return short_of_time(replace(one_node, site=replace(one_node.site, slurm=asked)))

    (fastest_s, fastest), (slowest_s, slowest) = colds[0], colds[-1]
    assert said(slowest_s) == ""
    assert "may end it" in said(slowest_s - 2) and slowest in said(slowest_s - 2)
    assert "may end it" in said(fastest_s)
    assert " ends it" in said(fastest_s - 2) and fastest in said(fastest_s - 2)
    assert "ends it" in said(-NOTICE_S)
