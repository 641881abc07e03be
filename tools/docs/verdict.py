"""Judges a claim against what the package computes; a verdict is always computed, never written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from tools.docs.claims import Claim
from tools.docs.units import digits

VerdictKind = Literal["right", "right for another case", "off", "not a number physics allows", "measured"]
CLOSE = 1.5
BEYOND = 1.02
"""A claim beats a physical limit only when it lies more than this factor beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the package computes for a claim, in the claim's base unit.

    `floor` and `ceiling` are limits physics sets on the quantity (bandwidth, arithmetic), not best guesses.
    `notes` fill the `{names}` in the claim's reason.
    """

    value: float
    floor: float | None = None
    ceiling: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement: its kind, claimed / computed, and the words printed."""

    kind: VerdictKind
    ratio: float
    words: str


def judge(claim: Claim, finding: Finding, other: Finding | None) -> Verdict:
    """Return the verdict on `claim`; `other` is what its other case computes, if it names one."""
    ratio = _ratio(claim, finding.value)
    if claim.measured and not _impossible(claim, finding):
        return Verdict(kind="measured", ratio=ratio, words=_measured(ratio))
    if _impossible(claim, finding):
        return _verdict("not a number physics allows", ratio)
    if _agrees(claim, finding.value):
        return _verdict("right", ratio)
    if claim.suffices and ratio > 1:
        return Verdict(kind="right", ratio=ratio, words=f"right: {digits(ratio, 2)}× what is needed")
    if other is not None and _agrees(claim, other.value):
        return Verdict(kind="right for another case", ratio=ratio, words="right for another case")
    return Verdict(kind="off", ratio=ratio, words=_off(ratio))


def _verdict(kind: VerdictKind, ratio: float) -> Verdict:
    return Verdict(kind=kind, ratio=ratio, words=kind)


def _agrees(claim: Claim, value: float) -> bool:
    return claim.low * (1 - claim.tolerance) <= value <= claim.high * (1 + claim.tolerance)


def _impossible(claim: Claim, finding: Finding) -> bool:
    above = finding.ceiling is not None and claim.low > finding.ceiling * BEYOND
    below = finding.floor is not None and claim.high < finding.floor / BEYOND
    return above or below


def _ratio(claim: Claim, value: float) -> float:
    """Return claimed / computed, with the end of a claimed range that lies nearer."""
    if value == 0:
        return inf if claim.high else 1.0
    nearest = min(max(value, claim.low), claim.high)
    return nearest / value


def _measured(ratio: float) -> str:
    """Return how a prediction stands to a measurement: the measurement is the truth, so nothing is "off"."""
    times = max(ratio, 1 / ratio)
    distance = f"{abs(1 / ratio - 1):.0%}".replace("%", " %") if times < CLOSE else f"{digits(times, 2)}×"
    return f"measured; sizewell predicts {distance} {'less' if ratio > 1 else 'more'}"


def _off(ratio: float) -> str:
    if ratio in (0, inf):
        return "off: one of the two is zero"
    times = max(ratio, 1 / ratio)
    return f"off by {digits(times, 3 if times < CLOSE else 2)}× (too {'high' if ratio > 1 else 'low'})"
