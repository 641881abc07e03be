"""Changes with what each brings while as many requests are in flight: closed forms choose, plays decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sizewell.advisor.changes import CUT, FLAG, NUMBERS, RELEASE, Before, Candidate, candidates
from sizewell.advisor.mix import Mix
from sizewell.advisor.pace import Pace, held, pace, seats
from sizewell.advisor.trial import Trial, trial
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.costs.rank_memory import RankMemories
from sizewell.costs.weights import Weights
from sizewell.simulator.compiled import CodeStore
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment

LEAST_GAIN, LEAST_OF_A_CUT = 0.02, 0.1
"""Gain below which a change is not worth a restart, and within what predictions are sure of anyway; of a cut it may
depend on who happens to start with whom.
"""
LEAST_PLAYED, PLAYED_CUTS = 0.6, 5
"""Share of today's tokens per second below which a closed form is believed of a cut, and how many cuts of a kind are
played: closed forms count prompts of data-parallel ranks one after the other.
"""
WORTH = {FLAG: 1.0, CUT: 0.8, RELEASE: 0.7, NUMBERS: 0.5}
"""How much of its gain a change counts for, by what it asks of whoever makes it (provenance: assumed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change and what it brings while as many requests are in flight as now.

    `gain_fraction` is of tokens per second; `token_s` what one sequence then waits between tokens, `sequences` how
    many decode at once and `mix` what they are then. `after_first_fraction` is the gain when it is made on top of the
    first change; None for the first itself and where the two cannot be had together.
    """

    name: str
    why: str
    effort: int
    deployment: Deployment
    mix: Mix
    gain_fraction: float
    token_s: float
    tokens_per_s: float
    sequences: float
    after_first_fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A cut somebody asked about: what it brings, however little, or why it cannot be."""

    name: str
    change: Change | None
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adviser:
    """Prices changes under one belief about the hardware; `runs` says which deployments an engine has kernels for,
    `starts` which have a command line. `code` keeps compiled plays.
    """

    efficiencies: Efficiencies
    runs: Callable[[Deployment], bool] = lambda _: True
    starts: Callable[[Deployment], bool] = lambda _: True
    code: CodeStore | None = None

    def advise(self, before: Before, top: int = 8) -> tuple[Change, ...]:
        """Return the changes that fit and win, the one to make first at the head.

        Nothing is proposed for several pools, or where nothing is in flight.
        """
        now = self._now(before.deployment, before.memory, before.mix)
        if now is None or len(before.deployment.pools) != 1:
            return ()
        found = (self._tested(each, now) for each in self._chosen(before, now))
        better = sorted((change for change in found if change.gain_fraction >= _least(change)), key=_order)
        chosen = _one_of_each(better)[:top]
        return (*chosen[:1], *self._on_top(before, chosen)) if chosen else ()

    def tried(self, before: Before, asked: tuple[Candidate, ...], first: Change | None) -> tuple[Tried, ...]:
        """Return what changes somebody names would bring, alone and on top of the `first` of those proposed."""
        now = self._now(before.deployment, before.memory, before.mix)
        on_top = self._now(first.deployment, ledger(first.deployment), first.mix) if first else None
        return tuple(self._tried(each, now, first, on_top) for each in asked)

    def _tried(self, asked: Candidate, now: _Now | None, first: Change | None, on_top: _Now | None) -> Tried:
        priced = self._priced(asked, now, {}) if now else None
        if now is None or priced is None:
            memory = ledger(asked.deployment)
            why = "no engine starts it" if now else "nothing is in flight"
            return Tried(name=asked.name, change=None, why_not=why if memory.fits else memory.verdict)
        change = self._tested(priced, now)
        if not self._can_start(asked.deployment, now):
            engine = asked.deployment.engine
            change = replace(change, why=f"{change.why}; {engine.name} {engine.version} has no flags for it")
        if first is not None and on_top is not None:
            (pool,), (cut,) = first.deployment.pools, asked.deployment.pools
            both = replace(pool, parallelism=cut.parallelism, replicas=cut.replicas)
            then = self._priced(replace(asked, deployment=replace(first.deployment, pools=(both,))), on_top, {})
            fraction = self._tested(then, on_top).gain_fraction if then else None
            change = replace(change, after_first_fraction=fraction)
        return Tried(name=asked.name, change=change)

    def _chosen(self, before: Before, now: _Now) -> Iterable[_Priced]:
        """Return the candidates worth a play: of cuts the best few of each kind, by closed forms."""
        memories: dict[str, RankMemories] = {}
        priced = [each for one in candidates(before) if (each := self._startable(one, now, memories)) is not None]
        least = LEAST_PLAYED * now.pace.tokens_per_s
        kinds: dict[str, list[_Priced]] = {}
        for cut in sorted((each for each in priced if each.candidate.effort == CUT), key=_by_closed_form):
            if cut.pace.tokens_per_s > least:
                kinds.setdefault(_kind(cut.candidate.deployment), []).append(cut)
        yield from (each for each in priced if each.candidate.effort != CUT)
        for cuts in kinds.values():
            yield from cuts[:PLAYED_CUTS]

    def _startable(self, candidate: Candidate, now: _Now, memories: dict[str, RankMemories]) -> _Priced | None:
        priced = self._priced(candidate, now, memories)
        return priced if priced and self._can_start(candidate.deployment, now) else None

    def _priced(self, candidate: Candidate, now: _Now, memories: dict[str, RankMemories]) -> _Priced | None:
        """Return a candidate with its closed form; None of what does not fit or no engine has kernels for."""
        deployment = candidate.deployment
        if not self.runs(deployment):
            return None
        name = deployment.weight_format
        if name not in memories:
            memories[name] = RankMemories(Weights(deployment.model, name))
        memory = ledger(deployment, memories=memories[name])
        mix = _mix_after(candidate, memory, now.mix)
        after = self._rate(deployment, memory, mix) if memory.fits else None
        return _Priced(candidate=candidate, memory=memory, mix=mix, pace=after) if after else None

    def _tested(self, priced: _Priced, now: _Now) -> Change:
        """Return a change with what its play shows, or its closed form where either cannot be played."""
        candidate = priced.candidate
        after = self._trial(candidate.deployment, priced.memory, priced.mix, priced.pace) if now.trial else None
        had, got = (now.trial, after) if now.trial and after else (now.pace, priced.pace)
        return Change(
            name=candidate.name, why=candidate.why, effort=candidate.effort, deployment=candidate.deployment,
            mix=priced.mix, gain_fraction=got.tokens_per_s / had.tokens_per_s - 1, token_s=got.token_s,
            tokens_per_s=got.tokens_per_s, sequences=got.tokens_per_s * got.token_s,
        )  # fmt: skip

    def _now(self, deployment: Deployment, memory: MemoryLedger, mix: Mix) -> _Now | None:
        found = self._rate(deployment, memory, mix)
        if found is None:
            return None
        played = self._trial(deployment, memory, mix, found)
        return _Now(mix=mix, pace=found, trial=played, sayable=self.starts(deployment))

    def _can_start(self, deployment: Deployment, now: _Now) -> bool:
        """Whether a changed deployment has a command line; nobody asks where today's has none that we know."""
        return not now.sayable or self.starts(deployment)

    def _rate(self, deployment: Deployment, memory: MemoryLedger, mix: Mix) -> Pace | None:
        room = min(mix.in_flight, seats(deployment), held(deployment, memory, mix.context_tokens))
        return pace(deployment, mix, room, self.efficiencies) if room > 0 else None

    def _trial(self, deployment: Deployment, memory: MemoryLedger, mix: Mix, given: Pace) -> Trial | None:
        return trial(deployment, memory, mix, given, (self.efficiencies, self.code)) if memory.fits else None

    def _on_top(self, before: Before, chosen: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return the others with what they bring once the first is made."""
        first, *others = chosen
        memory = ledger(first.deployment)
        now = self._now(first.deployment, memory, first.mix)
        names = {change.name for change in others}
        changed = replace(before, deployment=first.deployment, memory=memory, mix=first.mix)
        again = {each.name: each for each in candidates(changed) if each.name in names}
        told = []
        for change in others:
            then = self._startable(again[change.name], now, {}) if now and change.name in again else None
            fraction = self._tested(then, now).gain_fraction if now and then else None
            told.append(replace(change, after_first_fraction=fraction))
        return tuple(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    """What changes are measured by: the mix, its closed form, its play where there is one, and whether its command line
    is known.
    """

    mix: Mix
    pace: Pace
    trial: Trial | None
    sayable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """A candidate that fits, with its memory, the mix it leaves and its closed form."""

    candidate: Candidate
    memory: MemoryLedger
    mix: Mix
    pace: Pace


def _mix_after(candidate: Candidate, memory: MemoryLedger, mix: Mix) -> Mix:
    """Return the mix a change leaves: prompts found in the cache, and nothing lost where all fits to the end."""
    if candidate.cached_fraction is not None:
        mix = replace(mix, cached_fraction=candidate.cached_fraction)
    whole = held(candidate.deployment, memory, mix.prompt_tokens + mix.output_tokens)
    if candidate.settles or whole >= min(mix.in_flight, seats(candidate.deployment)):
        mix = replace(mix, lost_tokens=0.0)
    return mix


def _least(change: Change) -> float:
    return LEAST_OF_A_CUT if change.effort == CUT else LEAST_GAIN


def _order(change: Change) -> float:
    return -change.gain_fraction * WORTH[change.effort]


def _by_closed_form(priced: _Priced) -> float:
    return -priced.pace.tokens_per_s


def _kind(deployment: Deployment) -> str:
    """Return what a cut does beside sharing out matrices."""
    cut = deployment.pools[0].parallelism
    return "ranks of data" if cut.dp > 1 else "stages" if cut.pp > 1 else "ranks"


def _one_of_each(changes: list[Change]) -> tuple[Change, ...]:
    """Return the best of changes that turn the same screw: cuts of one kind, what is named alike but for its number."""
    kept: dict[str, Change] = {}
    for change in changes:
        screw = _kind(change.deployment) if change.effort == CUT else change.name.rstrip("0123456789. ")
        kept.setdefault(screw, change)
    return tuple(kept.values())
