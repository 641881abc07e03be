"""A batch from its rows to its files: what is answered already is left, the rest is sent, the whole is counted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sizewell.driver.answers import AnswerFile, read_answers
from sizewell.driver.batch import Batch, Files, Sending, watch
from sizewell.driver.client import Client, opened, require_room
from sizewell.driver.endpoints import Endpoint
from sizewell.driver.progress import Progress
from sizewell.driver.prompts import Asking, Prompt, Prompts, Row, Shard, prompts_of
from sizewell.driver.replies import Usage
from sizewell.driver.servers import USUAL_WINDOW, said_window, served_models, the_model
from sizewell.specs.address import Secret
from sizewell.specs.errors import UnreachableError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """Everything a batch is told. `model` and `sending` are asked of the servers where they are None."""

    urls: tuple[str, ...]
    rows: Sequence[Row]
    answers: Path
    errors: Path
    secret: Secret
    model: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    window: int | None = None
    sending: Sending = field(default_factory=lambda: Sending(window=USUAL_WINDOW))
    timeout_s: float = 3600.0
    shard: Shard = field(default_factory=Shard)
    say_every_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a batch came to. `usage` is of every answer of this input there is, earlier runs' too; `keys` its order.

    `stopped`: interrupted, the rest is for the next run; `lost_server`: why no server could be reached any more.
    """

    model: str
    window: int
    keys: tuple[str, ...]
    repeated: int
    progress: Progress
    usage: Usage
    elapsed_s: float
    stopped: bool
    lost_server: str


def run_batch(job: BatchJob, say: Say) -> Outcome:
    """Run a batch to its end; `say` hears how far it is.

    Raises UnreachableError where no server answers, BadInputError for rows or files that cannot be.
    """
    return asyncio.run(_run(job, say))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A batch whose files are open: what is left to ask, how many at once, and what is counted meanwhile.

    `usage` is that of the answers there already are.
    """

    model: str
    window: int
    found: Prompts
    left: tuple[Prompt, ...]
    files: Files
    progress: Progress
    usage: Usage

    def outcome(self, *, stopped: bool, lost_server: str) -> Outcome:
        """Return what the batch has come to."""
        return Outcome(
            model=self.model, window=self.window, keys=tuple(prompt.key for prompt in self.found.prompts),
            repeated=self.found.repeated, progress=self.progress, usage=self.usage + self.progress.sent_usage,
            elapsed_s=time.monotonic() - self.progress.begun_s, stopped=stopped, lost_server=lost_server,
        )  # fmt: skip


async def completed(job: BatchJob, client: Client) -> tuple[str, int]:
    """Return the model and window of a job, asked of its servers where it leaves them open; raises as `run_batch`."""
    model = job.model or await _model(client, job.urls)
    return model, job.window or await _window(client, job.urls)


async def _model(client: Client, urls: tuple[str, ...]) -> str:
    """Return the model of the first server that answers: one that is down keeps nobody from the others."""
    silent: list[UnreachableError] = []
    for url in urls:
        try:
            return the_model(await served_models(client, url), None, url)
        except UnreachableError as error:
            silent.append(error)
    raise silent[0]


@contextmanager
def opened_batch(job: BatchJob, model: str, window: int, say: Say) -> Iterator[Opened]:
    """Hold the files of a job for the length of a block; raises BadInputError for rows or files that cannot be."""
    found = _mine(prompts_of(job.rows, Asking(model=model, named=job.model is not None, fields=job.fields)), job.shard)
    with AnswerFile(job.answers, job.secret) as answers, AnswerFile(job.errors, job.secret, empty=True) as errors:
        done, usage = _answered(job.answers, found.prompts)
        say(f"{len(found.prompts):,} prompts, {len(done):,} answered already; {model}, {window} at a time")
        if not answers.locked:
            say(f"{job.answers} lies where files have no locks: start no second batch on it")
        yield Opened(
            model=model, window=window, found=found, usage=usage, files=Files(answers=answers, errors=errors),
            left=tuple(prompt for prompt in found.prompts if prompt.key not in done),
            progress=Progress(total=len(found.prompts), begun_s=time.monotonic(), resumed=len(done)),
        )  # fmt: skip
    if answers.rescued is not None:
        say(f"{job.answers} was deleted while it was written: the answers are in {answers.rescued}")


async def _run(job: BatchJob, say: Say) -> Outcome:
    async with opened(job.secret, job.timeout_s) as client:
        with opened_batch(job, *await completed(job, client), say) as ready:
            require_room(min(ready.window, len(ready.left)))
            endpoints = [Endpoint(url=url) for url in job.urls]
            sending = replace(job.sending, window=ready.window)
            batch = Batch(client, endpoints, sending, ready.files, ready.progress)
            await _watched(batch, ready.left, job, (ready.progress, say))
            return ready.outcome(stopped=batch.stopped, lost_server=batch.lost_server)


def _mine(found: Prompts, shard: Shard) -> Prompts:
    return replace(found, prompts=tuple(prompt for prompt in found.prompts if shard.holds(prompt.key)))


async def _window(client: Client, urls: tuple[str, ...]) -> int:
    return sum([await said_window(client, url) or USUAL_WINDOW for url in urls])


def _answered(path: Path, prompts: Sequence[Prompt]) -> tuple[set[str], Usage]:
    """Return the keys of the prompts a file answers, and what those answers used."""
    asked = {prompt.key for prompt in prompts}
    done: set[str] = set()
    usage = Usage()
    for line in read_answers(path):
        if line["key"] in asked and line["key"] not in done:
            done.add(line["key"])
            body = (line.get("response") or {}).get("body")
            usage += Usage.of(body if isinstance(body, dict) else {})
    return done, usage


async def _watched(batch: Batch, left: Sequence[Prompt], job: BatchJob, talk: tuple[Progress, Say]) -> None:
    progress, say = talk
    watching = asyncio.create_task(watch(progress, job.say_every_s, say))
    try:
        with _interruptible(batch, progress, say):
            await batch.run(left)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


@contextmanager
def _interruptible(batch: Batch, progress: Progress, say: Say) -> Iterator[None]:
    """Let Ctrl-C and a scheduler's TERM finish what is in flight; the second one gives that up too."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not batch.stopped:
            say(f"stopping: {progress.in_flight:,} in flight are waited for; once more gives them up")
        batch.stop()

    signals = (signal.SIGINT, signal.SIGTERM)
    for one in signals:
        loop.add_signal_handler(one, stop)
    try:
        yield
    finally:
        for one in signals:
            loop.remove_signal_handler(one)
