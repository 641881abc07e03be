"""Launches many tests render."""

from __future__ import annotations

import pytest

from launches import deployment, launch
from sizewell.deployer.launch import Launch
from sizewell.planner.stated import Stated


@pytest.fixture(scope="session")
def one_node() -> Launch:
    """R1 on eight H200, cut by tensors and experts."""
    return launch(deployment("r1", "8xh200", "vllm@0.33", Stated(tp=8, ep=8)))


@pytest.fixture(scope="session")
def two_nodes() -> Launch:
    """R1 on two nodes of eight H100, a stage on each."""
    return launch(deployment("r1", "16xh100", "vllm@0.33", Stated(tp=8, pp=2)))
