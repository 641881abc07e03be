"""Servers to send to, and which of them is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One server while a batch runs: what is in flight there, and until when it should be left alone.

    `failures`: its own since its last answer; `rests`: how often it was left alone for them.
    """

    url: str
    in_flight: int = 0
    resting_until_s: float = 0.0
    failures: int = 0
    rests: int = 0


def least_busy(endpoints: Sequence[Endpoint], now_s: float, failed: Endpoint | None = None) -> Endpoint:
    """Return the server with least in flight among those not resting; where all rest, the first to be back.

    One that just `failed` comes after the others.
    """
    awake = [one for one in endpoints if one.resting_until_s <= now_s]
    if awake:
        return min(awake, key=lambda one: (one is failed, one.in_flight))
    return min(endpoints, key=lambda one: one.resting_until_s)
