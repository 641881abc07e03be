"""Requests sent when their traffic says so, open or closed loop, each token's time written down as it comes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from sizewell.driver.assembly import chunk_of
from sizewell.driver.client import Client
from sizewell.driver.exchange import refuse_whole
from sizewell.driver.failures import ExchangeError
from sizewell.driver.recording import Recording
from sizewell.driver.sse import EventParser
from sizewell.driver.wording import Wording
from sizewell.traffic.requests import NONE, Requests

AHEAD_S = 0.5
"""How long before it is due a request is written, so that a long prompt does not make it late."""


@dataclass(slots=True, kw_only=True)
class Load:
    """Requests played against servers; `recordings` holds what has become of those that were due.

    In an open loop a request is due when its arrival says; in a closed one, and for a later turn, when it became
    free to go, in a closed loop not before its arrival. At `until_s` the rest is given up. Of several servers the one
    with least in flight is next, in turn where they are equal; a later turn goes where the earlier one was answered.
    """

    client: Client
    urls: Sequence[str]
    wording: Wording
    requests: Requests
    until_s: float = inf
    watch: Callable[[int], None] | None = None
    recordings: list[Recording] = field(default_factory=list)
    _begun_s: float = 0.0
    _ended: int = 0
    _busy: list[tuple[int, int]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _broken: BaseException | None = None
    _after: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    async def play(self) -> list[Recording]:
        """Send every request and return the recordings, when all have ended or `until_s` is over."""
        self._begun_s = time.perf_counter()
        self._busy = [(0, 0)] * len(self.urls)
        if self.requests.concurrency is None:
            self._start(self._open_loop())
        else:
            places = min(self.requests.concurrency, len(self.requests))
            waiting = Worded(self.wording, self.requests, places)
            self._begun_s = time.perf_counter()
            for _ in range(places):
                self._start(self._closed_loop(waiting))
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), None if self.until_s == inf else self.until_s)
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if self._broken is not None:
            raise self._broken
        return self.recordings

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._one_ended)

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._broken = self._broken or task.exception()
        if self._broken is not None or not self._tasks:
            self._over.set()

    def _now_s(self) -> float:
        return time.perf_counter() - self._begun_s

    async def _open_loop(self) -> None:
        for row in range(len(self.requests)):
            before = int(self.requests.after[row])
            if before != NONE:
                self._after[before].append(row)
        for row in range(len(self.requests)):
            if self.requests.after[row] == NONE:
                due_s = float(self.requests.arrival_s[row])
                await asyncio.sleep(max(0.0, due_s - AHEAD_S - self._now_s()))
                self._start(self._at(row, due_s))

    async def _closed_loop(self, waiting: Worded) -> None:
        pause_s = 0.0
        for row, data in waiting:
            await self._at(row, max(self._now_s() + pause_s, float(self.requests.arrival_s[row])), data=data)
            pause_s = self.requests.think_s

    async def _at(self, row: int, due_s: float, server: int | None = None, data: bytes | None = None) -> None:
        """Send one request when it is due; then those that wait for it."""
        one = Recording(row=row, scheduled_s=due_s, asked_tokens=int(self.requests.output_tokens[row]))
        data = data or self.wording.body(self.requests, row)
        wait_s = due_s - self._now_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        one.server = self._least_busy() if server is None else server
        self.recordings.append(one)
        self._note(one.server, 1)
        await self._sent(one, data)
        self._note(one.server, -1)
        self._ended += 1
        if self.watch is not None:
            self.watch(self._ended)
        for later in self._after.pop(row, ()):
            self._start(self._at(later, self._now_s() + float(self.requests.arrival_s[later]), one.server))

    def _least_busy(self) -> int:
        return min(range(len(self._busy)), key=self._busy.__getitem__)

    def _note(self, server: int, more: int) -> None:
        """Keep what is in flight at a server, and how often it was chosen."""
        in_flight, chosen = self._busy[server]
        self._busy[server] = (in_flight + more, chosen + (more > 0))

    async def _sent(self, one: Recording, data: bytes) -> None:
        parser = EventParser()
        one.sent_s = self._now_s()
        try:
            async with self.client.post(self.urls[one.server] + self.wording.path, data) as response:
                await refuse_whole(response)
                async for piece in response.content.iter_any():
                    now_s = self._now_s()
                    _take(one, parser.feed(piece), now_s)
                _take(one, parser.close(), self._now_s())
            one.end()
        except ExchangeError as error:
            one.fail(error)


def _take(one: Recording, events: Sequence[bytes], now_s: float) -> None:
    for event in events:
        chunk = chunk_of(event)
        if chunk is None:
            one.ended = True
        else:
            one.take(chunk, now_s)


class Worded:
    """Requests in order with their bodies, which are written ahead: a place that is free sends at once.

    Those that many answers free in one moment would otherwise write one after the other, and the server meet them so.
    """

    def __init__(self, wording: Wording, requests: Requests, ahead: int) -> None:
        self._wording = wording
        self._requests = requests
        self._rows = iter(range(len(requests)))
        self._ready: deque[tuple[int, bytes]] = deque()
        for _ in range(ahead):
            self._write()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        if not self._ready:
            self._write()
        if not self._ready:
            raise StopIteration
        asyncio.get_running_loop().call_soon(self._write)
        return self._ready.popleft()

    def _write(self) -> None:
        row = next(self._rows, None)
        if row is not None:
            self._ready.append((row, self._wording.body(self._requests, row)))
