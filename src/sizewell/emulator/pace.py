"""The simulation kept beside the clock on the wall: it is moved whenever something is due, never ahead of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from sizewell.simulator.live import Asked, Landed, Live
from sizewell.traffic.requests import Floats


class Pace:
    """Moves a `Live` with the clock of the event loop, `speed` times as fast, and hands on what lands."""

    def __init__(self, live: Live, speed: float, deliver: Callable[[Landed], None]) -> None:
        self.live, self.speed, self._deliver = live, speed, deliver
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Let time begin now."""
        self._origin = self._loop.time()

    @property
    def now_s(self) -> float:
        """Simulated seconds since the start."""
        return (self._loop.time() - self._origin) * self.speed

    def lateness_s(self, times_s: Floats) -> Floats:
        """Return how many real seconds ago something was due."""
        late: Floats = (self.now_s - times_s) / self.speed
        return late

    def offer(self, asked: Asked) -> int | None:
        """Let a request come now; what was due before has happened by then."""
        self._move()
        number = self.live.offer(asked, self.now_s)
        self._plan()
        return number

    def cancel(self, request: int) -> None:
        """Take a request back."""
        self._move()
        self.live.cancel(request)
        self._plan()

    def stop(self) -> None:
        """Let time stand still from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _move(self) -> None:
        now_s = self.now_s
        if self.live.next_s <= now_s:
            landed = self.live.advance(now_s)
            if len(landed.request):
                self._deliver(landed)

    def _plan(self) -> None:
        self.stop()
        next_s = self.live.next_s
        if np.isfinite(next_s):
            self._timer = self._loop.call_at(self._origin + next_s / self.speed, self._act)

    def _act(self) -> None:
        self._move()
        self._plan()
