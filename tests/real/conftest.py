"""One start of a real vLLM for every test that asks a server something."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # no package holds what lies beside this file

import vllm_sessions
from served_vllm import Served, make_model, serving

NO_VLLM = "vLLM is not installed in .venv-vllm: make .venv-vllm/.installed"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few million random weights."""
    if not vllm_sessions.PYTHON.exists():
        pytest.skip(NO_VLLM)
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def vllm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server that all tests share; those that harm one start their own."""
    with serving(tiny_model, tmp_path_factory.mktemp("vllm")) as served:
        yield served
