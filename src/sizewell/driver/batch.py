"""Prompts sent through a continuous window: as one is answered, the next goes; what is answered is kept at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sizewell.driver.client import Client
from sizewell.driver.endpoints import Endpoint, least_busy
from sizewell.driver.exchange import ask
from sizewell.driver.failures import Backoff, ExchangeError
from sizewell.driver.progress import Progress
from sizewell.driver.prompts import Prompt
from sizewell.driver.replies import Reply

FEWEST_UNREACHABLE = 20
"""Attempts in a row that reached no server at all before the batch stops instead of using up every prompt's tries."""
BROKEN_FAILURES = 3
"""Failures of its own without an answer between them after which a server is left alone, where others work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How prompts are sent: how many at once, how long to wait for one, how often to try again."""

    window: int
    backoff: Backoff = field(default_factory=Backoff)
    stream: bool = False


class Sink(Protocol):
    """Takes results one by one: a file, or what carries them to where the file is."""

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where answers and final errors go."""

    answers: Sink
    errors: Sink


class Batch:
    """One run over the prompts that have no answer yet.

    `run` ends when all have come to an end, when `stop` was called and what was in flight has ended, or, with
    `lost_server` set, when no server can be reached any more.
    """

    def __init__(
        self, client: Client, endpoints: Sequence[Endpoint], sending: Sending, files: Files, progress: Progress
    ) -> None:
        self._client = client
        self._endpoints = endpoints
        self._sending = sending
        self._files = files
        self._progress = progress
        self._rng = random.Random()
        self._unreachable = 0
        self._silent: set[str] = set()
        self._stopping = asyncio.Event()
        self._senders: list[asyncio.Task[None]] = []
        self.stopped = False
        self.lost_server = ""

    async def run(self, prompts: Sequence[Prompt]) -> None:
        """Send the prompts; raises whatever is no failure of a server."""
        waiting = iter(prompts)
        count = min(self._sending.window, len(prompts))
        self._senders = [asyncio.create_task(self._sender(waiting)) for _ in range(count)]
        try:
            await asyncio.gather(*self._senders)
        except asyncio.CancelledError:
            if not self.stopped:
                raise
        finally:
            await self._cancel()

    def stop(self) -> None:
        """Send nothing new; the second time, give up what is in flight: it is asked again by the next run."""
        if self.stopped:
            for sender in self._senders:
                sender.cancel()
        self.stopped = True
        self._stopping.set()

    async def _cancel(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _sender(self, waiting: Iterator[Prompt]) -> None:
        for prompt in waiting:
            self._progress.in_flight += 1
            try:
                await self._one(prompt)
            finally:
                self._progress.in_flight -= 1
            if self._stopping.is_set():
                return

    async def _one(self, prompt: Prompt) -> None:
        """Try a prompt until it is answered, finally refused, or out of tries.

        A server that is busy with others (429, or it says when to come again) uses up no try while it answers them.
        """
        tries, failed, retries, endpoint = 0, 0, self._sending.backoff.retries, None
        answered = self._progress.answered
        while True:
            endpoint = least_busy(self._endpoints, time.monotonic(), endpoint)
            if not await self._paused(endpoint.resting_until_s - time.monotonic()):
                return
            tries += 1
            try:
                self._keep(prompt, await self._tried(endpoint, prompt), endpoint, tries)
                return
            except ExchangeError as error:
                self._note(error, endpoint)
                failed += not (retries and error.busy and self._progress.answered > answered)
                answered = self._progress.answered
                if failed > retries and self._all_unreachable(failed - 1):
                    self._lose(error)  # since its first try nothing else was heard: it is the server, not the prompt
                    return
                if not error.again or failed > retries:
                    self._keep_error(prompt, error, endpoint, tries)
                    return
                if not await self._waited(endpoint, error, min(tries, retries) - 1):
                    return
            self._progress.retried += 1

    async def _tried(self, endpoint: Endpoint, prompt: Prompt) -> Reply:
        endpoint.in_flight += 1
        try:
            return await ask(self._client, endpoint.url, prompt, stream=self._sending.stream)
        finally:
            endpoint.in_flight -= 1

    async def _waited(self, endpoint: Endpoint, error: ExchangeError, attempt: int) -> bool:
        """Wait before the next try, the server at fault resting as long; return False where the batch stops first."""
        wait_s, now_s = self._sending.backoff.wait_s(attempt, error, self._rng), time.monotonic()
        if error.retry_after_s is not None or error.kind == "unreachable":
            endpoint.resting_until_s = max(endpoint.resting_until_s, now_s + wait_s)
        else:
            self._leave_alone(endpoint, now_s)
        if error.retry_after_s is not None and self._others_awake(endpoint, now_s):
            wait_s -= error.retry_after_s  # one server's rest keeps no prompt from another
        return await self._paused(wait_s)

    def _others_awake(self, endpoint: Endpoint, now_s: float) -> bool:
        return any(one.resting_until_s <= now_s for one in self._endpoints if one is not endpoint)

    def _leave_alone(self, endpoint: Endpoint, now_s: float) -> None:
        """Let a server that only fails rest, each time twice as long, while another does not.

        One with a dead engine refuses at once, has least in flight, and would use up every prompt's tries.
        """
        endpoint.failures += 1
        usual = endpoint.failures < BROKEN_FAILURES or endpoint.resting_until_s > now_s
        if not usual and self._others_awake(endpoint, now_s):
            backoff = self._sending.backoff
            endpoint.resting_until_s = now_s + min(backoff.most_s, backoff.first_s * 2.0 ** min(endpoint.rests, 30))
            endpoint.rests += 1

    async def _paused(self, wait_s: float) -> bool:
        """Wait; return False where the batch stops before the time is over."""
        if wait_s <= 0:
            return not self._stopping.is_set()
        try:
            await asyncio.wait_for(self._stopping.wait(), wait_s)
        except TimeoutError:
            return True
        return False

    def _note(self, error: ExchangeError, endpoint: Endpoint) -> None:
        self._progress.codes[error.code] += 1
        if error.kind != "unreachable":
            self._heard(endpoint)
            return
        self._unreachable += 1
        self._silent.add(endpoint.url)
        if self._all_unreachable(max(FEWEST_UNREACHABLE, 2 * self._sending.window) - 1):
            self._lose(error)

    def _heard(self, endpoint: Endpoint) -> None:
        self._unreachable = 0
        self._silent.discard(endpoint.url)

    def _all_unreachable(self, more_than: int) -> bool:
        """Return whether no server could be reached, so often in a row; one that takes its time to answer can be."""
        return len(self._silent) == len(self._endpoints) and self._unreachable > more_than

    def _lose(self, error: ExchangeError) -> None:
        self.lost_server = str(error)
        self._stopping.set()

    def _keep(self, prompt: Prompt, reply: Reply, endpoint: Endpoint, attempts: int) -> None:
        self._heard(endpoint)
        endpoint.failures = endpoint.rests = 0
        line = {
            "key": prompt.key,
            "id": f"sizewell-{prompt.key[:24]}",
            "custom_id": prompt.custom_id,
            "response": {"status_code": 200, "request_id": reply.request_id, "body": reply.body},
            "error": None,
            "answer": reply.parts.answer,
            "reasoning": reply.parts.reasoning,
            "finish_reason": reply.finish_reason,
            "endpoint": endpoint.url,
            "attempts": attempts,
        }
        self._files.answers.append(line)
        count_reply(self._progress, reply)
        self._progress.ended(time.monotonic(), reply.usage.output_tokens)

    def _keep_error(self, prompt: Prompt, error: ExchangeError, endpoint: Endpoint, attempts: int) -> None:
        line = {
            "key": prompt.key,
            "id": f"sizewell-{prompt.key[:24]}",
            "custom_id": prompt.custom_id,
            "response": None if error.status is None else {"status_code": error.status},
            "error": {"code": error.code, "message": str(error)},
            "endpoint": endpoint.url,
            "attempts": attempts,
        }
        self._files.errors.append(line)
        self._progress.failed_for_good(str(error), time.monotonic())


def count_reply(progress: Progress, reply: Reply) -> None:
    """Add a reply to the counts."""
    progress.answered += 1
    progress.sent_usage += reply.usage
    progress.truncated += reply.finish_reason == "length"
    thought = bool(reply.parts.reasoning)
    progress.with_reasoning += thought
    progress.without_reasoning += not thought
    progress.lost_reasoning += not thought and reply.usage.think_tokens > 0
    progress.unclosed += thought and not reply.parts.answer and not reply.calls


async def watch(progress: Progress, every_s: float, say: Callable[[str], None]) -> None:
    """Say how far the batch is, again and again, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        say(progress.line(time.monotonic()))
