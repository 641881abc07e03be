"""Servers to send to, and which of them is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One server while a batch runs: what is in flight there, and until when it should be left alone."""

    url: str
    in_flight: int = 0
    resting_until_s: float = 0.0


def least_busy(endpoints: Sequence[Endpoint], now_s: float) -> Endpoint:
    """Return the server with least in flight among those not resting; where all rest, the first to be back."""
    awake = [one for one in endpoints if one.resting_until_s <= now_s]
    if awake:
        return min(awake, key=lambda one: one.in_flight)
    return min(endpoints, key=lambda one: one.resting_until_s)
