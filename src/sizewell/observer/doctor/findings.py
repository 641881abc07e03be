"""What a check of a node came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["pass", "warn", "fail", "skipped"]
Subject = Literal["gpu", "topology", "host", "disk", "network", "engine"]
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found, what is needed and, unless all is well, what to do in one line.

    `figures` are what was measured, in base units by name.
    """

    subject: Subject
    check: str
    verdict: Verdict
    found: str
    needed: str = ""
    fix: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def worst(findings: tuple[Finding, ...]) -> Verdict:
    """Return the worst verdict of some findings; `pass` for none."""
    found = {finding.verdict for finding in findings}
    order: tuple[Verdict, ...] = ("fail", "warn", "pass", "skipped")
    return next((verdict for verdict in order if verdict in found), "pass")


def gib(size_bytes: float) -> str:
    """Return bytes as text in GiB."""
    return f"{size_bytes / GIB:,.1f} GiB"
