"""A server that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emulated import Served, emulated, serving


@pytest.fixture(scope="session")
def tiny() -> Iterator[Served]:
    """A server that many tests share: ten times as fast as its deployment, and thinking."""
    with serving(emulated(words=("--think", "8", "--answer", "12"), speed=10.0)) as served:
        served.wait()
        yield served
