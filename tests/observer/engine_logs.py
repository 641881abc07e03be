"""The corpus of engine logs: each file's text and what it says, read by eye."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def samples(kind: str = "") -> list[Sample]:
    """Return the logs of a kind, `healthy` or `failed`; every file has its facts."""
    known = tomllib.loads((FOLDER / "expected.toml").read_text())
    found = {str(path.relative_to(FOLDER).with_suffix("")): path for path in FOLDER.glob("*/*.log")}
    assert set(found) == set(known)
    return [
        Sample(name, found[name].read_bytes().decode(), known[name]) for name in sorted(found) if name.startswith(kind)
    ]
