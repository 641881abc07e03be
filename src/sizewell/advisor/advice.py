"""Changes with what each brings: the changed deployment priced on the same requests in flight, by the same `costs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sizewell.advisor.changes import CUT, FLAG, NUMBERS, RELEASE, Before, Candidate, candidates
from sizewell.advisor.mix import Mix
from sizewell.advisor.pace import Pace, held, pace, seats
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.costs.rank_memory import RankMemories
from sizewell.costs.weights import Weights
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment

LEAST_GAIN = 0.02
"""Gain below which a change is not worth a restart, and within what predictions are sure of anyway."""
MOST_CUTS = 3
"""Cuts that are listed: many differ by little."""
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
    """Prices changes under one belief about the hardware; `runs` says which deployments an engine starts at all."""

    efficiencies: Efficiencies
    runs: Callable[[Deployment], bool] = lambda _: True

    def advise(self, before: Before, top: int = 8) -> tuple[Change, ...]:
        """Return the changes that fit and win, the one to make first at the head.

        Nothing is proposed for several pools, or where nothing is in flight.
        """
        now = self._rate(before.deployment, before.memory, before.mix)
        if now is None or len(before.deployment.pools) != 1:
            return ()
        found = sorted(self._better(before, now), key=_order)
        chosen = _one_of_each(found)[:top]
        return (*chosen[:1], *self._on_top(before, chosen)) if chosen else ()

    def tried(self, before: Before, asked: tuple[Candidate, ...], first: Change | None) -> tuple[Tried, ...]:
        """Return what changes somebody names would bring, alone and on top of the `first` of those proposed."""
        now = self._rate(before.deployment, before.memory, before.mix)
        return tuple(self._tried(each, before.mix, now, first) for each in asked)

    def _tried(self, asked: Candidate, mix: Mix, now: Pace | None, first: Change | None) -> Tried:
        memory = ledger(asked.deployment)
        change = self._priced(asked, mix, now, {}) if now else None
        if change is None:
            why = "no engine starts it" if now else "nothing is in flight"
            return Tried(name=asked.name, change=None, why_not=why if memory.fits else memory.verdict)
        if first is not None:
            (pool,), (cut,) = first.deployment.pools, asked.deployment.pools
            both = replace(pool, parallelism=cut.parallelism, replicas=cut.replicas)
            then = replace(asked, deployment=replace(first.deployment, pools=(both,)))
            on_top = self._rate(first.deployment, ledger(first.deployment), first.mix)
            priced = self._priced(then, first.mix, on_top, {}) if on_top else None
            change = replace(change, after_first_fraction=priced.gain_fraction if priced else None)
        return Tried(name=asked.name, change=change)

    def _better(self, before: Before, now: Pace) -> Iterable[Change]:
        memories: dict[str, RankMemories] = {}
        for candidate in candidates(before):
            change = self._priced(candidate, before.mix, now, memories)
            if change is not None and change.gain_fraction >= LEAST_GAIN:
                yield change

    def _priced(self, candidate: Candidate, mix: Mix, now: Pace, memories: dict[str, RankMemories]) -> Change | None:
        deployment = candidate.deployment
        if not self.runs(deployment):
            return None
        name = deployment.weight_format
        if name not in memories:
            memories[name] = RankMemories(Weights(deployment.model, name))
        memory = ledger(deployment, memories=memories[name])
        left = _mix_after(candidate, memory, mix)
        after = self._rate(deployment, memory, left) if memory.fits else None
        if after is None:
            return None
        return Change(
            name=candidate.name, why=candidate.why, effort=candidate.effort, deployment=deployment, mix=left,
            gain_fraction=after.tokens_per_s / now.tokens_per_s - 1, token_s=after.token_s,
            tokens_per_s=after.tokens_per_s, sequences=after.tokens_per_s * after.token_s,
        )  # fmt: skip

    def _rate(self, deployment: Deployment, memory: MemoryLedger, mix: Mix) -> Pace | None:
        room = min(mix.in_flight, seats(deployment), held(deployment, memory, mix.context_tokens))
        return pace(deployment, mix, room, self.efficiencies) if room > 0 else None

    def _on_top(self, before: Before, chosen: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return the others with what they bring once the first is made."""
        first, *others = chosen
        memory = ledger(first.deployment)
        changed = replace(before, deployment=first.deployment, memory=memory, mix=first.mix)
        now = self._rate(first.deployment, memory, first.mix)
        names = {change.name for change in others}
        again = {each.name: each for each in candidates(changed) if each.name in names}
        memories: dict[str, RankMemories] = {}
        told = []
        for change in others:
            then = again.get(change.name)
            priced = self._priced(then, first.mix, now, memories) if then and now else None
            told.append(replace(change, after_first_fraction=priced.gain_fraction if priced else None))
        return tuple(told)


def _mix_after(candidate: Candidate, memory: MemoryLedger, mix: Mix) -> Mix:
    """Return the mix a change leaves: prompts found in the cache, and nothing lost where all fits to the end."""
    if candidate.cached_fraction is not None:
        mix = replace(mix, cached_fraction=candidate.cached_fraction)
    whole = held(candidate.deployment, memory, mix.prompt_tokens + mix.output_tokens)
    if candidate.settles or whole >= min(mix.in_flight, seats(candidate.deployment)):
        mix = replace(mix, lost_tokens=0.0)
    return mix


def _order(change: Change) -> float:
    return -change.gain_fraction * WORTH[change.effort]


def _one_of_each(changes: list[Change]) -> tuple[Change, ...]:
    """Return the best of changes that turn the same screw: what is named alike but for its number."""
    kept: dict[str, Change] = {}
    for change in changes:
        kept.setdefault(change.name if change.effort == CUT else change.name.rstrip("0123456789. "), change)
    cuts = [name for name, change in kept.items() if change.effort == CUT]
    return tuple(change for name, change in kept.items() if name not in cuts[MOST_CUTS:])
