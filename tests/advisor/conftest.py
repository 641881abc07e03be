"""Deployments the advisor is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sizewell.advisor.advice import Adviser
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.cli import questions
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import Deployment, Formats
from sizewell.traffic.workload import Workload

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy() -> Deploy:
    """Return a function that states a deployment."""

    def deploy_as(
        model: str, on: str, nodes: int | None = None, engine: str = "vllm@0.33", weight_format: str = "native",
        **said: Any,
    ) -> Deployment:  # fmt: skip
        load = Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0)
        stated = Stated(**{"max_model_len_tokens": 8192, **said})
        setup = questions.Setup(engine=engine, formats=Formats(weight=weight_format), stated=stated)
        return questions.stated_on(model, questions.machine(on, nodes), load, setup)

    return deploy_as


@pytest.fixture
def adviser() -> Adviser:
    """An adviser with the shipped calibration."""
    return Adviser(efficiencies=read_efficiencies())
