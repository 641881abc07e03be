"""A server's diagnosis: the label, its evidence, the roofline, and the changes that would help."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from sizewell.advisor.advice import Adviser, Change, Tried
from sizewell.advisor.case import Case, Finding, Label
from sizewell.advisor.changes import Before, cut_as
from sizewell.advisor.findings import findings
from sizewell.advisor.mix import Mix
from sizewell.advisor.observation import Observation
from sizewell.advisor.pace import PROMPTS, Pace, pace, seats
from sizewell.costs.ledger import MemoryLedger
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Parallelism
from sizewell.specs.engine import EngineSpec

NOT_THE_SERVER: tuple[Label, ...] = ("client", "idle GPUs", "faster than possible")
"""What no change of the server would better, or none of the one that was said."""
NO_HARDWARE = "the deployment: with its hardware, seconds are priced and changes proposed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside what was seen: the deployment with its memory, what its prompts share, a newer
    release, and the cuts (replicas with their parallelism) somebody asks about.
    """

    deployment: Deployment | None = None
    memory: MemoryLedger | None = None
    expected_cached_fraction: float | None = None
    newest: EngineSpec | None = None
    asked_cuts: tuple[tuple[int, Parallelism], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What binds a server or plan, and what to change.

    `findings`: the first is the label, the rest come behind it. `pace` is the prediction for the observed mix;
    `measured_token_s` what really lies between tokens; MFU and MBU are at the measured rate where there is one.
    `changes`: the first is the one to make, the others what might come next; `tried` are those asked about.
    `missing` names what nobody told.
    """

    label: Label
    findings: tuple[Finding, ...]
    seen: Observation
    mix: Mix | None
    pace: Pace | None
    measured_token_s: float | None
    mfu: float | None
    mbu: float | None
    changes: tuple[Change, ...]
    tried: tuple[Tried, ...]
    missing: tuple[str, ...]

    @property
    def slowness(self) -> float | None:
        """Measured over predicted time between tokens."""
        if self.pace is None or self.measured_token_s is None:
            return None
        return self.measured_token_s / self.pace.token_s

    @property
    def beats_the_floor(self) -> bool:
        """Whether tokens came faster than the stated hardware can give them: then it is not what runs."""
        return any(finding.label == "faster than possible" for finding in self.findings)


def diagnose(seen: Observation, known: Known, adviser: Adviser, top: int = 8) -> Diagnosis:
    """Return what binds a server that was observed, by its metrics and by what its deployment should do."""
    seen = _with_cache(seen, known)
    case = _case(seen, known, adviser)
    found = findings(case)
    mfu, mbu = _used(case.pace, seen.generated_tokens_per_s)
    before = _before(known, case.mix)
    changes = adviser.advise(before, top) if before and found[0].label not in NOT_THE_SERVER else ()
    asked = tuple(cut_as(before.deployment, *cut) for cut in known.asked_cuts) if before else ()
    return Diagnosis(
        label=found[0].label,
        findings=found,
        seen=seen,
        mix=case.mix,
        pace=case.pace,
        measured_token_s=seen.token_s,
        mfu=mfu,
        mbu=mbu,
        changes=changes,
        tried=adviser.tried(before, asked, changes[0] if changes else None) if before else (),
        missing=(*seen.missing, *((NO_HARDWARE,) if known.deployment is None else ())),
    )


def expected(deployment: Deployment, mix: Mix, sequences: float, efficiencies: Efficiencies) -> tuple[Pace, float]:
    """Return the pace of a deployment, and the seconds of it that recording CUDA graphs would save."""
    predicted = pace(deployment, mix, sequences, efficiencies)
    pools = deployment.pools
    if not pools[-1].settings.enforce_eager or deployment.engine.launch == "eager":
        return predicted, 0.0
    recorded = replace(pools[-1], settings=replace(pools[-1].settings, enforce_eager=False))
    graphs = pace(replace(deployment, pools=(*pools[:-1], recorded)), mix, sequences, efficiencies)
    return predicted, max(predicted.token_s - graphs.token_s, 0.0)


def twice(deployment: Deployment, mix: Mix, now: Pace | None, efficiencies: Efficiencies) -> float | None:
    """Return the gain in tokens per second if twice as many decoded at once and none lost their cache."""
    if now is None:
        return None
    calm, there = replace(mix, lost_tokens=0.0), now.sequences * deployment.pools[-1].replicas
    one, two = (pace(_seating(deployment, there * many), calm, there * many, efficiencies) for many in (1, 2))
    return two.tokens_per_s / one.tokens_per_s - 1


def _seating(deployment: Deployment, sequences: float) -> Deployment:
    """Return a deployment with so many seats at least: beyond its own an engine records no graphs."""
    (*others, pool), short = deployment.pools, sequences / seats(deployment)
    if short <= 1:
        return deployment
    settings = replace(pool.settings, max_num_seqs=ceil(pool.settings.max_num_seqs * short))
    return replace(deployment, pools=(*others, replace(pool, settings=settings)))


def as_watched(deployment: Deployment, engines: int) -> Deployment:
    """Return a deployment with no more replicas than `engines` told of themselves: a page may be that of one."""
    return _with_replicas(deployment, min(engines - deployment.pools[0].replicas, 0))


def _with_replicas(deployment: Deployment, more: int) -> Deployment:
    """Return a deployment with so many replicas more, of one pool whose replicas are one engine each."""
    (pool, *others) = deployment.pools
    if others or pool.parallelism.dp > 1 or pool.replicas + more < 1:
        return deployment
    return replace(deployment, pools=(replace(pool, replicas=pool.replicas + more),))


def _with_cache(seen: Observation, known: Known) -> Observation:
    """Return what was seen with the size of the cache by the ledger, where the engine does not say it."""
    if seen.kv_tokens is not None or known.memory is None or known.deployment is None:
        return seen
    pool = known.deployment.pools[-1]
    return replace(seen, kv_tokens=float(known.memory.kv_tokens * pool.parallelism.dp * pool.replicas))


def _case(seen: Observation, known: Known, adviser: Adviser) -> Case:
    mix, predicted, eager_s = Mix.of_observation(seen), None, 0.0
    at_work = known.deployment and _with_replicas(known.deployment, -seen.idle_engines)
    if at_work is not None and mix is not None and seen.decoding:
        mix = _really_lost(at_work, mix, seen, adviser.efficiencies)
        predicted, eager_s = expected(at_work, mix, seen.decoding, adviser.efficiencies)
        seen = _with_queue(seen, mix, predicted)
        mix = replace(mix, in_flight=max(mix.in_flight, (seen.decoding or 0.0) + (seen.waiting or 0.0)))
    more = twice(at_work, mix, predicted, adviser.efficiencies) if at_work and mix else None
    return Case(
        seen=seen, deployment=known.deployment, memory=known.memory, mix=mix, pace=predicted, eager_s=eager_s,
        expected_cached_fraction=known.expected_cached_fraction, more_at_once=more,
    )  # fmt: skip


def _with_queue(seen: Observation, mix: Mix, predicted: Pace) -> Observation:
    """Return what was seen with the requests that must have waited, where nobody counted them: rate × time (Little).

    A first token takes the prompt's own computation and the step under way when it comes; the rest was waited for.
    """
    if seen.waiting is not None or not (seen.finished_per_s and seen.ttft_s):
        return seen
    prompt_s = predicted.causes[PROMPTS] / predicted.sequences * max(mix.output_tokens - 1, 1.0) + predicted.cycle_s
    waiting, at_prompts = (seen.finished_per_s * each for each in (max(seen.ttft_s - prompt_s, 0.0), prompt_s))
    there = (seen.running or 0.0) + min(at_prompts, seen.finished_per_s * seen.ttft_s)
    return replace(seen, waiting=waiting, running=there)


def _really_lost(deployment: Deployment, mix: Mix, seen: Observation, efficiencies: Efficiencies) -> Mix:
    """Return the mix with as many tokens computed again as the measured pace leaves time for.

    Engines take the cache of whoever came last, which is short, and find part of it again: a mean context for each
    preemption is the most that was lost.
    """
    if not mix.lost_tokens or not seen.token_s or not seen.decoding:
        return mix
    none, all_s = (
        pace(deployment, replace(mix, lost_tokens=lost), seen.decoding, efficiencies).token_s
        for lost in (0.0, mix.lost_tokens)
    )
    share = (seen.token_s - none) / (all_s - none) if all_s > none else 1.0
    return replace(mix, lost_tokens=mix.lost_tokens * min(max(share, 0.0), 1.0))


def _used(predicted: Pace | None, tokens_per_s: float | None) -> tuple[float | None, float | None]:
    if predicted is None:
        return None, None
    return predicted.at(tokens_per_s) if tokens_per_s else (predicted.mfu, predicted.mbu)


def _before(known: Known, mix: Mix | None) -> Before | None:
    if known.deployment is None or known.memory is None or mix is None or len(known.deployment.pools) > 1:
        return None
    return Before(
        deployment=known.deployment, memory=known.memory, mix=mix,
        expected_cached_fraction=known.expected_cached_fraction, newest=known.newest,
    )  # fmt: skip
