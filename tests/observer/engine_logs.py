"""The corpus of engine logs: each file's text and what it says, read by eye."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sizewell.observer.logs.engine_log import EngineLog
from sizewell.specs.standing import LogFacts

FOLDER = Path(__file__).parent / "logs"


@dataclass(frozen=True)
class Sample:
    """One log and the facts written beside it."""

    name: str
    text: str
    expected: dict[str, Any]

    @property
    def cause(self) -> str | None:
        return self.expected.get("cause")


def read_engine_log(lines: Iterable[str], *, checkpoint_bytes: float | None = None) -> LogFacts:
    """Return the facts of a whole log."""
    log = EngineLog(checkpoint_bytes=checkpoint_bytes)
    log.feed(lines)
    return log.facts()


def samples(kind: str = "") -> list[Sample]:
    """Return the logs of a kind, `healthy` or `failed`; every file has its facts."""
    known = tomllib.loads((FOLDER / "expected.toml").read_text())
    found = {str(path.relative_to(FOLDER).with_suffix("")): path for path in FOLDER.glob("*/*.log")}
    assert set(found) == set(known)
    return [
        Sample(name, found[name].read_bytes().decode(), known[name]) for name in sorted(found) if name.startswith(kind)
    ]
