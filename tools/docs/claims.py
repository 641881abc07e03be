"""The numeric claims of the source documents, read from docs/claims/*.toml.

A claim is data: the words of the document, the value they state, and which evaluator computes the same quantity.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.docs.units import UNITS

MAX_QUOTED_WORDS = 12
DEFAULT_TOLERANCE = 0.10

Argument = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something an evaluator can compute: its name and its arguments; `says` names the case in words."""

    evaluator: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One number of a source document, in base units, with what is asked of the package in its place.

    `low` and `high` are equal unless the document gives a range. `other` is a different case the number is compared
    with when it is wrong for its own. `reason` may hold `{names}` that the evaluator fills. `measured` marks what the
    document's authors measured: it is set beside the prediction, not judged. `suffices` marks a recommendation: it is
    right whenever it is enough.
    """

    document: str
    section: str
    words: str
    low: float
    high: float
    unit: str
    case: Case
    reason: str
    other: Case | None = None
    tolerance: float = DEFAULT_TOLERANCE
    measured: bool = False
    suffices: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A number of a source document that nothing here can compute, and why."""

    document: str
    words: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFile:
    """All claims of one source document."""

    document: str
    title: str
    claims: tuple[Claim, ...]
    unchecked: tuple[Unchecked, ...]


def read_claim_files(folder: Path) -> tuple[ClaimFile, ...]:
    """Return the claims of every file in `folder`, files in the order of their names."""
    return tuple(_claim_file(path) for path in sorted(folder.glob("*.toml")))


def _claim_file(path: Path) -> ClaimFile:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    document = str(table["document"])
    return ClaimFile(
        document=document,
        title=str(table["title"]),
        claims=tuple(_claim(document, row) for row in table["claim"]),
        unchecked=tuple(Unchecked(document=document, **row) for row in table.get("unchecked", ())),
    )


def _claim(document: str, row: Mapping[str, object]) -> Claim:
    value, words, unit = row["value"], str(row["words"]), str(row["unit"])
    if len(words.split()) > MAX_QUOTED_WORDS:
        raise ValueError(f"{document}: {words!r} quotes more than {MAX_QUOTED_WORDS} words")
    if unit not in UNITS:
        raise ValueError(f"{document}: {words!r} has the unknown unit {unit!r}")
    ends = [float(end) for end in value] if isinstance(value, list) else [float(str(value))] * 2
    other = row.get("other")
    return Claim(
        document=document,
        section=str(row["section"]),
        words=words,
        low=ends[0],
        high=ends[1],
        unit=unit,
        case=_case(row),
        reason=str(row["reason"]),
        other=_case(other) if isinstance(other, dict) else None,
        tolerance=float(str(row.get("tolerance", DEFAULT_TOLERANCE))),
        measured=bool(row.get("measured", False)),
        suffices=bool(row.get("suffices", False)),
    )


def _case(row: Mapping[str, object]) -> Case:
    arguments = row.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments of {row.get('words', row)!r} must be a table")
    return Case(evaluator=str(row["evaluator"]), arguments=arguments, says=str(row.get("says", "")))
