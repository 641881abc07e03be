"""The command in this process, and short waits between tries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import say  # noqa: F401  # a fixture
from driver.double import Double, running
from sizewell.driver import failures


@pytest.fixture
def double() -> Iterator[tuple[str, Double]]:
    """A server that answers at once, and its address."""
    with running() as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, without keys in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("SIZEWELL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once, but for what a server asks."""
    usual = failures.Backoff.wait_s
    monkeypatch.setattr(failures.Backoff, "wait_s", lambda *given: usual(*given) / 50)
