"""Run the command in this process and look at what it says on which stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sizewell.cli.main import run


@dataclass(frozen=True, slots=True)
class Said:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The only line on stderr; fails when there is not exactly one."""
        (line,) = self.err.splitlines()
        return line


Say = Callable[..., Said]


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Say:  # fmt: skip
    """Return a function that runs `sizewell` with some words."""
    monkeypatch.setenv("SIZEWELL_CATALOG", "/nonexistent-catalogue")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))

    def said(*words: str) -> Said:
        capsys.readouterr()
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return said
