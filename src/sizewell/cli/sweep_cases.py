"""Simulations of a sweep: what each is, and where they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sizewell.cli.output import json_ready
from sizewell.specs.errors import SizewellError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

FELT = ("ttft", "ttfa", "tpot", "itl", "e2e")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
COUNTS = ("offered", "ok", "rejected", "unfinished", "preemptions")
CHUNKS = 16
"""Parts each worker's share is cut into: simulations differ in length."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulation of a sweep: its words, its score as JSON types, or why there is none.

    `fits`: the deployment has the memory, and takes one of the requests at least.
    """

    words: tuple[str, ...]
    score: dict[str, Any] | None
    note: str
    fits: bool = True

    def chosen(self, varied: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        """Return the values of the varied flags."""
        return tuple(word.partition("=")[2] for word in self.words[-len(varied) :])

    def seconds(self, felt: str, statistic: str) -> float | None:
        """Return a statistic of what was felt."""
        found: float | None = self.score[felt][f"{statistic}_s"] if self.score else None
        return found

    @property
    def attainment(self) -> float | None:
        """Share of the offered requests that met every limit."""
        found: float | None = self.score["attainment_fraction"] if self.score else None
        return found

    @property
    def output_tokens_per_s(self) -> float | None:
        """Output tokens per second: of the steady state where there was one, else over the whole run."""
        served = (self.score["steady"] or self.score["wall"]) if self.score else None
        found: float | None = served["output_tokens_per_s"] if served else None
        return found

    def flat(self) -> dict[str, Any]:
        """Return the figures of a row by column name."""
        times = {f"{felt}_{name}_s": self.seconds(felt, name) for felt in FELT for name in STATISTICS}
        counts = {name: self.score[name] if self.score else None for name in COUNTS}
        rates = {"output_tokens_per_s": self.output_tokens_per_s, "attainment_fraction": self.attainment}
        return {**counts, **times, **rates, "note": self.note}

    def document(self, varied: dict[str, tuple[str, ...]]) -> dict[str, Any]:
        """Return the simulation as a JSON object."""
        return {"varied": dict(zip(varied, self.chosen(varied), strict=True)), "score": self.score, "note": self.note}


def simulate_words(words: tuple[str, ...]) -> Outcome:
    """Return what `sizewell simulate` with these words finds; what a user can mend is said in the note."""
    import click

    from sizewell.cli.simulate import command, simulated
    from sizewell.cli.simulate_page import why_rejected

    try:
        with command.make_context("simulate", list(words), obj={"quiet": True}) as ctx:
            found = simulated(ctx, ctx.params)
    except SizewellError as error:
        return Outcome(words, None, str(error))
    except click.ClickException as error:
        return Outcome(words, None, error.format_message())
    if found.score is None:
        return Outcome(words, None, found.memory.verdict, fits=False)
    note = found.overload if found.fits else why_rejected(found)
    return Outcome(words, json_ready(found.score), note, fits=found.fits)


def simulate_all(cases: Sequence[tuple[str, ...]]) -> list[Outcome]:
    """Return the outcomes of some cases, one after the other."""
    return [simulate_words(words) for words in cases]


def on_cores(cases: Sequence[tuple[str, ...]], cores: int | None, ended: Callable[[int], None] | None) -> list[Outcome]:
    """Return the outcomes of all cases, in order, from processes on this machine."""
    import os
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import active_children, get_context

    many = min(cores or os.cpu_count() or 1, len(cases))
    found = [simulate_words(cases[0])]  # compiles, and stores the code for the others
    if many == 1:
        return _told(found, map(simulate_words, cases[1:]), ended)
    size = max(1, len(cases) // (many * CHUNKS))
    with ProcessPoolExecutor(many, mp_context=get_context("spawn")) as pool:
        try:
            parts = _handed_over(pool, [cases[at : at + size] for at in range(1, len(cases), size)])
            return _told(found, (one for part in parts for one in part.result()), ended)
        except KeyboardInterrupt:
            # Nothing is cancelled: a pool that breaks tells all futures so, and fails over those that were.
            for child in active_children():
                child.terminate()
            raise


def _handed_over(pool: Executor, parts: Sequence[Sequence[tuple[str, ...]]]) -> list[Future[list[Outcome]]]:
    """Submit parts; the processes this starts inherit that Ctrl-C is held back, so that only we answer to it."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [pool.submit(simulate_all, part) for part in parts]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def on_ray(cases: Sequence[tuple[str, ...]], address: str, ended: Callable[[int], None] | None) -> list[Outcome]:
    """Return the outcomes of all cases, in order, from a Ray cluster on whose nodes sizewell is installed."""
    from sizewell.cli.ray_cluster import connected

    with connected(address) as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        size = max(1, -(-len(cases) // (cores * CHUNKS)))
        part = ray.remote(simulate_all)
        parts = [part.remote(list(cases[at : at + size])) for at in range(0, len(cases), size)]
        return _told([], (one for waiting in parts for one in ray.get(waiting)), ended)


def _told(found: list[Outcome], more: Any, ended: Callable[[int], None] | None) -> list[Outcome]:
    """Gather outcomes and say how many there are."""
    for one in more:
        found.append(one)
        if ended is not None:
            ended(len(found))
    return found
