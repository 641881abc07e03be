"""The simulation kept beside the clock on the wall: it is moved whenever something is due, never ahead of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from sizewell.simulator.live import Asked, Landed, Live
from sizewell.traffic.requests import Floats

EARLY_S = 0.001
"""The event loop's timers are late by up to a millisecond: it is woken so much earlier and sleeps the rest exactly."""


class Pace:
    """Moves a `Live` with the clock of the event loop, `speed` times as fast, and hands on what lands.

    `tidy` is called once nothing else is due: what it does keeps no token waiting.
    """

    def __init__(self, live: Live, speed: float, deliver: Callable[[Landed], None], tidy: Callable[[], None]) -> None:
        self.live, self.speed, self._deliver, self._tidy = live, speed, deliver, tidy
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self._origin = self._loop.time()
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        """Let time begin now."""
        self._origin = self._loop.time()

    @property
    def now_s(self) -> float:
        """Simulated seconds since the start."""
        return self.at_s(self._loop.time())

    def at_s(self, loop_s: float) -> float:
        """Return the simulated seconds of a time of the event loop's clock."""
        return (loop_s - self._origin) * self.speed

    def lateness_s(self, due_s: Floats, loop_s: Floats) -> Floats:
        """Return how many real seconds after it was due something happened, by the event loop's clock."""
        return ((loop_s - self._origin) * self.speed - due_s) / self.speed

    def offer(self, asked: Asked, came_s: float) -> int | None:
        """Let a request that came a moment ago, in simulated seconds, in; what has happened since stays as it was.

        What reading it takes here is not added to what the emulated server takes for it.
        """
        self._move()
        number = self.live.offer(asked, max(came_s, self.live.now_s))
        self._go_on()
        return number

    def cancel(self, request: int) -> None:
        """Take a request back. It need not be brought up to date first: nobody waits for what it gains."""
        self.live.cancel(request)

    def stop(self) -> None:
        """Let time stand still from now on."""
        self._stopped = True
        self._forget()

    def _move(self) -> None:
        now_s = self.now_s
        if self.live.next_s <= now_s:
            landed = self.live.advance(now_s)
            if len(landed.request):
                self._deliver(landed)

    def _go_on(self) -> None:
        self._plan()
        if self._timer is None or self._due_s > self._loop.time():
            self._tidy()

    def _plan(self) -> None:
        self._forget()
        next_s = self.live.next_s
        if next_s < inf and not self._stopped:
            self._due_s = self._origin + next_s / self.speed
            self._timer = self._loop.call_at(self._due_s - EARLY_S, self._act)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _act(self) -> None:
        early_s = self._due_s - self._loop.time()
        if early_s > 0:
            time.sleep(early_s)
        self._move()
        self._go_on()
