"""The same batch on Ray Data: prompts leave from every core of a cluster, each answer is kept here as it comes.

What is asked, under which key, and what the files hold is as without Ray, so that either goes on where the other
stopped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from queue import SimpleQueue
from threading import Thread
from traceback import format_exc
from typing import Any
from warnings import catch_warnings

from sizewell.driver.batch import Batch, Files, Sending, count_reply
from sizewell.driver.batch_job import BatchJob, Opened, Outcome, Say, completed, opened_batch
from sizewell.driver.client import opened
from sizewell.driver.endpoints import Endpoint
from sizewell.driver.progress import Progress
from sizewell.driver.prompts import Prompt
from sizewell.driver.replies import reply_of
from sizewell.specs.address import Secret
from sizewell.specs.errors import UnreachableError

PARTS_PER_CORE = 4
"""Parts a core's share is cut into, one after another: cores differ, and so do answers."""
Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every part of the batch is told; the key travels as an argument, in no name and no log."""

    urls: tuple[str, ...]
    secret: Secret
    sending: Sending
    timeout_s: float


def run_on_ray(job: BatchJob, ray: Any, say: Say) -> Outcome:
    """Run a batch to its end on the cluster `ray` is connected to, on whose nodes sizewell is installed.

    A part whose process dies is not begun again by Ray, which would ask all of it and leave out as many records as had
    come, whichever those were: what it did not bring is asked in another round.
    Raises as `run_batch`, and what Ray raises where it gives the work up.
    """
    with opened_batch(job, *asyncio.run(_completed(job)), say) as ready:
        keeper = _Keeper(ready, say, job.say_every_s)
        stopped = False
        try:
            with _terminable():
                _keep_all(ray, job, ready.window, keeper)
        except KeyboardInterrupt:
            stopped = True
        return ready.outcome(stopped=stopped, lost_server=keeper.lost_server)


def _keep_all(ray: Any, job: BatchJob, window: int, keeper: _Keeper) -> None:
    """Ask what is left, round after round, until nothing is or no server answers."""
    while left := keeper.left():
        for record in _records(ray, job, window, left):
            keeper.take(record)
            if keeper.lost_server:
                return
        if len(keeper.left()) == len(left):
            raise UnreachableError(f"Ray lost every part of {len(left):,} prompts before its first answer")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a scheduler's TERM end a batch as Ctrl-C does; Ray's own handler would end the process and say how."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


async def _completed(job: BatchJob) -> tuple[str, int]:
    async with opened(job.secret, job.timeout_s) as client:
        return await completed(job, client)


def _records(ray: Any, job: BatchJob, window: int, left: Sequence[Prompt]) -> Iterator[Record]:
    """Yield what the parts report, as they report it."""
    data = _ray_data()
    cores = max(1, min(int(ray.cluster_resources().get("CPU", 1)), window, len(left)))
    parts = min(PARTS_PER_CORE * cores, len(left))
    sending = replace(job.sending, window=-(-window // cores))
    asked = Asked(urls=job.urls, secret=job.secret, sending=sending, timeout_s=job.timeout_s)
    # Each part takes every n-th prompt: neighbours are alike, and no part shall get all the long ones.
    rows = [{"prompt": json.dumps(asdict(one))} for part in range(parts) for one in left[part::parts]]
    with catch_warnings(action="ignore"):  # Ray has no other place yet to say how often a part is begun
        answered = data.from_items(rows, override_num_blocks=parts).map_batches(
            ask_all, batch_size=None, fn_kwargs={"asked": asked}, concurrency=cores, max_retries=0
        )
    for batch in answered.iter_batches(batch_size=None, prefetch_batches=0):
        yield from map(json.loads, batch["record"])


def _ray_data() -> Any:
    import logging

    from ray import data

    context = data.DataContext.get_current()
    context.target_max_block_size = 1  # every answer goes on its way at once, not with a hundred megabytes of others
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a part that dies takes no other with it
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return data


def ask_all(batch: Mapping[str, Sequence[str]], asked: Asked) -> Iterator[dict[str, list[str]]]:
    """Ask the prompts of one part, on whatever node; yield a record for each as it ends, and one for the whole."""
    prompts = [Prompt(**json.loads(text)) for text in batch["prompt"]]
    told: SimpleQueue[str | None] = SimpleQueue()

    def work() -> None:
        try:
            asyncio.run(_sent(prompts, asked, told))
        except BaseException:  # raised again where the files are: Ray takes it for a part that died
            told.put(json.dumps({"fault": asked.secret.hide(format_exc())}))
        told.put(None)

    Thread(target=work, daemon=True).start()
    while (record := told.get()) is not None:
        yield {"record": [record]}


async def _sent(prompts: Sequence[Prompt], asked: Asked, told: SimpleQueue[Any]) -> None:
    progress = Progress(total=len(prompts), begun_s=time.monotonic())
    files = Files(answers=_Teller("answer", asked.secret, told), errors=_Teller("error", asked.secret, told))
    async with opened(asked.secret, asked.timeout_s) as client:
        batch = Batch(client, [Endpoint(url=url) for url in asked.urls], asked.sending, files, progress)
        await batch.run(prompts)
    whole = {"retried": progress.retried, "codes": dict(progress.codes), "lost_server": batch.lost_server}
    told.put(json.dumps({"whole": whole}))


class _Teller:
    """Carries results to where the files are; the key stays behind."""

    def __init__(self, kind: str, secret: Secret, told: SimpleQueue[Any]) -> None:
        self._kind = kind
        self._secret = secret
        self._told = told

    def append(self, line: Mapping[str, Any]) -> None:
        """Send one result on its way."""
        self._told.put(json.dumps({self._kind: self._secret.hide_in(line)}))


class _Keeper:
    """Keeps results in the files and counts them; a part that Ray ran a second time changes nothing."""

    def __init__(self, ready: Opened, say: Say, say_every_s: float) -> None:
        self._ready = ready
        self._say = say
        self._say_every_s = say_every_s
        self._said_s = time.monotonic()
        self._kept: set[str] = set()
        self.lost_server = ""

    def left(self) -> tuple[Prompt, ...]:
        """Return the prompts of which nothing is known yet."""
        return tuple(prompt for prompt in self._ready.left if prompt.key not in self._kept)

    def take(self, record: Record) -> None:
        """Take one record of a part."""
        progress, now_s = self._ready.progress, time.monotonic()
        if "fault" in record:
            raise RuntimeError(f"a part of the batch failed on its node:\n{record['fault']}")
        if "whole" in record:
            progress.retried += record["whole"]["retried"]
            progress.codes.update(record["whole"]["codes"])
            self.lost_server = self.lost_server or record["whole"]["lost_server"]
        else:
            self._keep(record, now_s)
        progress.in_flight = min(self._ready.window, progress.left)
        if now_s - self._said_s >= self._say_every_s:
            self._say(progress.line(now_s))
            self._said_s = now_s

    def _keep(self, record: Record, now_s: float) -> None:
        progress, line = self._ready.progress, record.get("answer") or record["error"]
        if line["key"] in self._kept:
            return
        self._kept.add(line["key"])
        if "answer" in record:
            self._ready.files.answers.append(line)
            reply = reply_of(line["response"]["body"], line["response"]["request_id"])
            count_reply(progress, reply)
            progress.ended(now_s, reply.usage.output_tokens)
        else:
            self._ready.files.errors.append(line)
            progress.failed_for_good(line["error"]["message"], now_s)
