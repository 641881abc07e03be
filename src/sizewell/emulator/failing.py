"""What is to go wrong, drawn request by request from a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from sizewell.emulator.deployment import Failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one request: refused with a `status`, or broken when it has `token` tokens."""

    status: int | None = None
    token: float = inf
    resets: bool = False
    stall_s: float = 0.0


UNHARMED = Fate()


class Failing:
    """Deals out failures in the stated shares."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._draws = np.random.default_rng(failures.seed)
        self._harmless = not (failures.error_fraction or failures.reset_fraction or failures.stall_fraction)

    def fate(self, output_tokens: int) -> Fate:
        """Return what happens to the next request, which would get so many tokens."""
        if self._harmless:
            return UNHARMED
        failures, luck, where = self._failures, *self._draws.random(2)
        if luck < failures.error_fraction:
            return Fate(status=failures.error_status)
        luck -= failures.error_fraction
        token = int(where * output_tokens)
        if luck < failures.reset_fraction:
            return Fate(token=token, resets=True)
        luck -= failures.reset_fraction
        return Fate(token=token, stall_s=failures.stall_s) if luck < failures.stall_fraction else UNHARMED

    def is_over(self, ended: int) -> bool:
        """Return whether the engine dies now that so many requests have ended."""
        most = self._failures.die_after_requests
        return most is not None and ended >= most

    @staticmethod
    def after(seconds: float, act: Callable[[], None]) -> None:
        """Do something later; never where that is infinitely far."""
        if isfinite(seconds):
            asyncio.get_running_loop().call_later(seconds, act)
