"""Scripts have nothing a careful reader of shell would stop at."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from launches import HOSTILE, deployment, launch
from shell_text import clean
from sizewell.deployer.launch import Launch, Slurm, Style
from sizewell.deployer.render import render
from sizewell.planner.stated import Stated
from sizewell.specs.errors import BadInputError

STYLES: tuple[Style, ...] = ("none", "conda", "venv", "apptainer", "module")


def scripts(asked: Launch) -> list[str]:
    """Return the scripts of a launch; only a job starts Ray."""
    by_ray = asked.nodes > 1 and asked.site.slurm.launcher == "ray"
    return [text for target in ("slurm", *(() if by_ray else ("command",))) for text in render(asked, target).values()]


@pytest.mark.parametrize("style", STYLES)
def test_every_way_to_start_is_clean(style: Style, one_node: Launch, two_nodes: Launch) -> None:
    for asked, launcher, host in product((one_node, two_nodes), ("mp", "ray"), ("127.0.0.1", "0.0.0.0")):
        slurm = Slurm(style=style, environment="an environment", launcher=launcher)  # type: ignore[arg-type]
        clean(*scripts(replace(asked, site=replace(asked.site, slurm=slurm, host=host))))


def test_other_engines_and_replicas_are_clean() -> None:
    clean(
        *scripts(launch(deployment("r1", "16xh100", "sglang@0.5.23", Stated(tp=16)), host="0.0.0.0")),
        *scripts(launch(deployment("llama-3.1-8b", "2xrtx-4090", "llama.cpp"))),
        *scripts(launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)))),
        *scripts(launch(deployment("llama-3.1-8b", "8xmi300x", "vllm@0.33", Stated(tp=1, replicas=8)))),
    )


@pytest.mark.parametrize("time", ["1-", "abc", "1:00:00;rm", "1:2:3:4", "-1", ""])
def test_what_is_no_time_to_a_scheduler_is_refused(one_node: Launch, time: str) -> None:
    with pytest.raises(BadInputError, match="SLURM reads no such time"):
        render(replace(one_node, site=replace(one_node.site, slurm=Slurm(time=time))), "slurm")


def test_hostile_names_are_clean(two_nodes: Launch) -> None:
    for name in HOSTILE:
        slurm = Slurm(style="venv", environment=name)
        site = replace(two_nodes.site, served_name=name, model_path=name, slurm=slurm)
        clean(*scripts(replace(two_nodes, site=site)))
