"""Measured runs as evidence: their first tokens and paces, beside a simulation of the same requests.

Requests are played at the times they were sent, and in a closed loop no more at a time than there were. Users who all
begin at once and ask for the same would keep in step for ever in a simulation; on a server the milliseconds of a client
part them, and how many prompts are computed together decides when their first tokens come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Belief, Floats, revised
from sizewell.calibrator.fit import MOST, NOISE, Evidence
from sizewell.calibrator.own import ENGINE, HELD_BACK_EVERY, MACHINE, Asked
from sizewell.costs.ledger import ledger
from sizewell.simulator.compiled import CodeStore
from sizewell.simulator.deployment import deployed
from sizewell.simulator.facts import Disaggregated, Fleet
from sizewell.simulator.simulate import Options, play
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment
from sizewell.specs.engine import EAGER_TAG
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import RUN_COLUMNS, Run

ENOUGH_RUNS = 3
"""From here on whole runs are held back; of fewer, a third of the requests of each."""
FEWEST_REQUESTS = 12
"""Served requests of a run below which its figures say nothing."""
MOST_CACHED = 0.02
"""Share of prompts found in a cache above which a run is not the one that is played: what was shared is not kept."""
LEAST_SERVED = 0.95
NUDGES = (0.1, 0.2)
"""ln of the changes, up and down, through which slopes are laid: steps are whole, so a single one may change nothing,
or let a prompt just miss its batch."""
NEARBY = 0.05
"""ln by which multipliers may have moved since slopes were taken."""
ASKED = Asked(most_fraction=0.3)
"""Simulations of a machine that is known are off by a few percent; a limit on seats nobody stated, by several times."""
RUN_NOISE = 0.05
"""Spread of a run's figures between repetitions on one machine, ln."""
FASTER = ("relative_flops", "relative_hbm", "relative_link")
"""Factors of rates, none of which takes a machine beyond what is stated of it; the others are of times."""
OFFSET = 0.5
"""How far one machine under one engine may lie from what is believed of its kind, ln."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRun:
    """A run with the deployment it ran on and the requests it was; only served ones are in either."""

    number: int
    deployment: Deployment
    requests: Requests
    run: Run

    @classmethod
    def of(
        cls, number: int, deployment: Deployment, run: Run, concurrency: int | None, cached_fraction: float = 0.0
    ) -> MeasuredRun:
        """Return a kept run made ready, its requests in the order they were sent; of a closed loop with `concurrency`.

        `cached_fraction` of its prompts were found in a cache, where its requests do not tell themselves.

        Raises BadInputError for a run too short, with failures, with prompts that a cache knew, or with requests that
        are longer than the stated deployment takes: the simulation would refuse what was served.
        """
        rows = np.flatnonzero(run.served)
        if len(rows) < max(FEWEST_REQUESTS, LEAST_SERVED * len(run)):
            raise BadInputError(
                f"run {number}: {len(rows)} of {len(run)} requests were served; a calibration needs "
                f"{FEWEST_REQUESTS} or more, and {LEAST_SERVED:.0%} of all"
            )
        told = run.cached_tokens[rows].sum() / max(run.input_tokens[rows].sum(), 1)
        if max(told, cached_fraction) > MOST_CACHED:
            raise BadInputError(f"run {number}: a prefix cache knew its prompts: bench with prompts of their own")
        longest = int((run.input_tokens[rows] + run.output_tokens[rows]).max())
        most = min(pool.settings.max_model_len_tokens for pool in deployment.pools)
        if longest > most:
            raise BadInputError(
                f"run {number}: it served requests of {longest:,} tokens, and the deployment it states takes {most:,}: "
                "bench with the --max-model-len that is served"
            )
        rows = rows[np.argsort(run.sent_s[rows], kind="stable")]
        sent_s = run.sent_s[rows] - run.sent_s[rows].min()
        answer = run.output_tokens[rows] - run.think_tokens[rows]
        requests = Requests.of(sent_s, run.input_tokens[rows], answer, run.think_tokens[rows], concurrency)
        served = replace(run, **{name: getattr(run, name)[rows] for name in RUN_COLUMNS})
        return cls(number=number, deployment=deployment, requests=requests, run=served)


def run_beliefs(runs: Sequence[MeasuredRun]) -> tuple[Belief, ...]:
    """Return what can differ on the one machine and under the one engine of some runs; for these two together."""
    first = runs[0].deployment
    tag = f"gpu:{first.cluster.gpu.key}+engine:{first.engine.name}"
    eager = all(EAGER_TAG in each.deployment.tags for each in runs)
    names = (*MACHINE, *ENGINE, *(("eager_launch_s",) if eager else ()))
    return tuple(Belief(factor=name, spread=OFFSET, tag=tag) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """Observes runs under multipliers: each gives the TTFT and TPOT of its requests, the means of their middle halves.

    A median would jump where two ways of batching are about as frequent, a mean follow the odd request that was lost.

    Of three runs and more every third is apart, else a third of every run's requests: figures come in that order.
    """

    runs: tuple[MeasuredRun, ...]
    reference: Efficiencies
    store: CodeStore | None = None
    known: dict[bytes, Floats] = field(default_factory=dict)
    sloped: list[tuple[Floats, Floats]] = field(default_factory=list)

    @property
    def apart(self) -> NDArray[np.bool_]:
        """Which figures are held back."""
        each = [apart for at in range(len(self.runs)) for apart, _ in self._parts(at)]
        return np.repeat(np.array(each, dtype=bool), 2)

    def observe(self, beliefs: Sequence[Belief], logs: Floats, free: NDArray[np.bool_]) -> Evidence:
        """Return errors ln(simulated / measured) at multipliers exp(`logs`) [P], and the slopes of the `free` ones."""
        errors = self.errors(beliefs, logs)
        return Evidence(
            errors=errors, slopes=self._slopes(beliefs, logs, free),
            weights=np.full(len(errors), (NOISE / RUN_NOISE) ** 2), group=self._run_of_figures(),
        )  # fmt: skip

    def errors(self, beliefs: Sequence[Belief], logs: Floats) -> Floats:
        """Return errors alone, which one play of every run tells."""
        measured = np.concatenate([self._figures(at, each.run) for at, each in enumerate(self.runs)])
        return np.asarray(self._simulated(beliefs, logs) - measured)

    def ratios(self, beliefs: Sequence[Belief], logs: Floats) -> Floats:
        """Return simulated over measured TTFT and TPOT of each run [R, 2], the mean of its parts."""
        errors, run_of = self.errors(beliefs, logs), self._run_of_figures()
        return np.exp([errors[run_of == at].reshape(-1, 2).mean(axis=0) for at in range(len(self.runs))])

    def impossible(self, beliefs: Sequence[Belief]) -> NDArray[np.bool_]:
        """Return of which runs [R] tokens came faster than their machine gives them at every stated rate."""
        logs = np.array([MOST if belief.factor in FASTER else -MOST for belief in beliefs])
        return np.asarray(self.ratios(beliefs, logs)[:, 1] > np.exp(RUN_NOISE))

    def _run_of_figures(self) -> NDArray[np.int64]:
        """Return which run each figure is of."""
        counts = [2 * len(self._parts(at)) for at in range(len(self.runs))]
        return np.repeat(np.arange(len(self.runs), dtype=np.int64), counts)

    def _slopes(self, beliefs: Sequence[Belief], logs: Floats, free: NDArray[np.bool_]) -> Floats:
        """Return the slopes [N, P], 0 of what is not free; those of a place nearby are taken again."""
        for place, slopes in self.sloped:
            if np.abs(place - logs).max() < NEARBY and np.isfinite(slopes[:, free]).all():
                return np.where(free, slopes, 0.0)
        unknown = np.full(len(self._simulated(beliefs, logs)), np.nan)
        ways = zip(np.eye(len(beliefs)), free, strict=True)
        found = np.stack([self._slope(beliefs, logs, way) if asked else unknown for way, asked in ways], axis=1)
        self.sloped.append((logs, found))
        return np.where(free, found, 0.0)

    def _slope(self, beliefs: Sequence[Belief], logs: Floats, way: Floats) -> Floats:
        """Return the slope along one factor of the line that lies nearest to what the nudges show [N]."""
        ends = [(size, size * way) for nudge in NUDGES for size in (nudge, -nudge)]
        rises = sum((size * self._simulated(beliefs, logs + move) for size, move in ends), np.zeros(1))
        return np.asarray(rises / sum(size**2 for size, _ in ends), dtype=np.float64)

    def _simulated(self, beliefs: Sequence[Belief], logs: Floats) -> Floats:
        key = logs.round(9).tobytes()
        if key not in self.known:
            efficiencies = revised(self.reference, beliefs, logs, np.zeros(len(logs)), "tried")
            self.known[key] = np.concatenate(self._played(efficiencies))
        return self.known[key]

    def _played(self, efficiencies: Efficiencies) -> list[Floats]:
        """Return the figures of every run; runs of one deployment share what their steps cost."""
        found: list[Floats] = []
        built: list[tuple[Deployment, Fleet | Disaggregated]] = []
        for at, measured in enumerate(self.runs):
            served = next((each for known, each in built if known == measured.deployment), None)
            if served is None:
                pools = range(len(measured.deployment.pools))
                memories = tuple(ledger(measured.deployment, pool) for pool in pools)
                served = deployed(measured.deployment, memories, efficiencies)
                built.append((measured.deployment, served))
            options = Options(compiled=True, store=self.store)
            found.append(self._figures(at, play(served, measured.requests, options).run))
        return found

    def _parts(self, at: int) -> list[tuple[bool, slice]]:
        """Return whether each part of a run is apart, and which part of its requests it is."""
        if len(self.runs) >= ENOUGH_RUNS:
            return [(at % HELD_BACK_EVERY == 1, slice(None))]
        return [(number == 1, slice(number, None, HELD_BACK_EVERY)) for number in range(HELD_BACK_EVERY)]

    def _figures(self, at: int, run: Run) -> Floats:
        first = run.first_token_s - run.sent_s
        pace = (run.last_token_s - run.first_token_s) / np.maximum(run.output_tokens - 1, 1)
        parts = [part for _, part in self._parts(at)]
        return np.log([max(_middle(each[part]), 1e-9) for part in parts for each in (first, pace)])


def _middle(values: Floats) -> float:
    """Return the mean of the middle half."""
    ranked = np.sort(values[np.isfinite(values)])
    aside = len(ranked) // 4
    return float(np.mean(ranked[aside : len(ranked) - aside]))
