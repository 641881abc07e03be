"""A batch by parts, without Ray: what the parts report is kept once, counted and said as without parts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from driver.double import Answer, Double, plain, prompt_of
from sizewell.driver import batch_ray
from sizewell.driver.answers import read_answers
from sizewell.driver.batch import Sending
from sizewell.driver.batch_job import BatchJob, opened_batch, run_batch
from sizewell.driver.failures import Backoff
from sizewell.driver.prompts import Row
from sizewell.specs.address import Secret
from sizewell.specs.errors import UnreachableError

KEY = "a-key-nobody-shall-see"
CLUSTER = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})


class Parts:
    """Stands in for Ray Data: runs every part here, and the first of them twice, as Ray does when a node is lost.

    Of the first round each third record is lost: so a part ends whose process dies.
    """

    loses = 0

    def from_items(self, rows: list[dict[str, str]], *, override_num_blocks: int) -> Parts:
        """Cut rows into parts."""
        size = -(-len(rows) // override_num_blocks)
        cut = [rows[at : at + size] for at in range(0, len(rows), size)]
        self.parts = [cut[0], *cut]
        return self

    def map_batches(self, ask: Any, *, fn_kwargs: dict[str, Any], **_: Any) -> Parts:
        """Note what each part does."""
        self.ask = lambda rows: ask({"prompt": [row["prompt"] for row in rows]}, **fn_kwargs)
        return self

    def iter_batches(self, **_: Any) -> Iterator[dict[str, list[str]]]:
        """Do it, part by part."""
        lossy, type(self).loses = self.loses, 0
        for number, record in enumerate(record for part in self.parts for record in self.ask(part)):
            if not lossy or number % lossy:
                yield record


class Dying(Parts):
    """Brings no record of any part."""

    def iter_batches(self, **_: Any) -> Iterator[dict[str, list[str]]]:
        """Bring nothing."""
        return iter(())


@pytest.fixture
def job(double: tuple[str, Double], here: Path, monkeypatch: pytest.MonkeyPatch) -> BatchJob:
    """Forty prompts, of which every tenth is refused and every seventh fails once."""
    failed: set[str] = set()

    def script(body: dict[str, Any], number: int) -> Answer:
        asked = prompt_of(body)
        if asked.endswith("0"):
            return Answer(status=400, error=f"not {asked}, {KEY}")
        if int(asked) % 7 == 0 and asked not in failed:
            failed.add(asked)
            return Answer(status=503)
        return plain(body, number)

    double[1].script = script
    monkeypatch.setattr(batch_ray, "_ray_data", Parts)
    rows = [Row(own_id=f"q{n}", body={"messages": [{"role": "user", "content": str(n)}]}, place="") for n in range(40)]
    return BatchJob(
        urls=(double[0],), rows=rows, answers=here / "a.jsonl", errors=here / "e.jsonl", secret=Secret(KEY), window=8,
        sending=Sending(window=1, backoff=Backoff(first_s=0.01)),
    )  # fmt: skip


def test_parts_leave_what_a_batch_leaves(job: BatchJob) -> None:
    found = batch_ray.run_on_ray(job, CLUSTER, print)
    assert (found.progress.answered, found.progress.failed, found.progress.left) == (36, 4, 0)
    answers = [line["custom_id"] for line in read_answers(job.answers)]
    assert len(answers) == len(set(answers)) == 36
    errors = [json.loads(line) for line in job.errors.read_text().splitlines()]
    assert sorted(line["custom_id"] for line in errors) == ["q0", "q10", "q20", "q30"]
    assert KEY not in job.answers.read_text() + job.errors.read_text()
    again = run_batch(replace(job, sending=Sending(window=1, backoff=Backoff(retries=0))), print)
    assert (again.progress.resumed, again.progress.failed) == (36, 4), "without parts it goes on"
    assert again.keys == found.keys


def test_one_part_reports_each_prompt_as_it_ends_and_the_whole_last(job: BatchJob) -> None:
    with opened_batch(job, "double", 8, print) as ready:
        texts = [json.dumps(asdict(prompt)) for prompt in ready.left]
    asked = batch_ray.Asked(urls=job.urls, secret=job.secret, sending=replace(job.sending, window=4), timeout_s=30.0)
    records = [json.loads(one) for batch in batch_ray.ask_all({"prompt": texts}, asked) for one in batch["record"]]
    assert [*map(len, records)] == [1] * 41
    assert records[-1]["whole"]["codes"] == {"http_400": 4, "http_503": 5}


def test_what_a_dead_part_did_not_bring_is_asked_in_another_round(
    job: BatchJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parts, "loses", 3)
    found = batch_ray.run_on_ray(job, CLUSTER, print)
    assert (found.progress.answered, found.progress.failed, found.progress.left) == (36, 4, 0)
    assert len({line["key"] for line in read_answers(job.answers)}) == 36


def test_a_cluster_on_which_every_part_dies_is_given_up(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_ray, "_ray_data", Dying)
    with pytest.raises(UnreachableError, match="lost every part of 40 prompts"):
        batch_ray.run_on_ray(job, CLUSTER, print)


def test_our_own_fault_on_a_node_keeps_its_traceback_and_loses_the_key(
    job: BatchJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError(f"no such thing, {KEY}")

    monkeypatch.setattr(batch_ray, "_sent", broken)
    with pytest.raises(RuntimeError, match="no such thing") as raised:
        batch_ray.run_on_ray(job, CLUSTER, print)
    assert "Traceback" in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_schedulers_term_ends_it_as_ctrl_c_does(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminated(Parts):
        def iter_batches(self, **_: Any) -> Iterator[dict[str, list[str]]]:
            """Bring a part, then what ends the job."""
            yield from self.ask(self.parts[0])
            os.kill(os.getpid(), signal.SIGTERM)
            yield from self.ask(self.parts[1])

    monkeypatch.setattr(batch_ray, "_ray_data", Terminated)
    found = batch_ray.run_on_ray(job, CLUSTER, print)
    assert found.stopped
    assert found.progress.left > 0
    assert run_batch(job, print).progress.left == 0
