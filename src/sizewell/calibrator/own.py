"""A calibration from somebody's own measurements: fitted on some, believed only if it helps with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Belief, Floats
from sizewell.calibrator.fit import NOISE, Evidence, Fitted, determined, misfit, step

TURNS = 12
HALVINGS, ASIDE = 5, 0.1
"""Steps tried in a turn: the whole one, its half and so on; ln of steps along one belief after them. What plays show is
not smooth, so a step may lead away, and errors may stay where no slope says how to lessen them."""
SETTLED = 0.02
"""What a turn gains at least: less moves nothing by a fifth of its spread."""
HELD_BACK_EVERY = 3
"""One in so many measurements is held back."""
FEWEST = 6
"""Measurements below which none can be spared to check with."""
OFFSET = 0.3
"""How far a machine of its own may lie from its kind, one standard deviation of the logarithm."""
SEEN = 0.03
"""Slope below which a measurement does not depend on a factor: a tenth more changes it by less than 0.3 %."""
ALIKE = 0.97
"""Cosine of two factors' slopes above which measurements do not tell them apart."""
MACHINE = ("relative_flops", "relative_hbm", "relative_link", "relative_fixed")
ENGINE = ("host_step_s", "host_sequence_s", "request_s")

Which = NDArray[np.bool_]
Observe = Callable[[Floats, Which], Evidence]
"""From multipliers, ln [P], to what measurements say at them; slopes are asked of some beliefs [P], others may be 0."""
Errors = Callable[[Floats], Floats]
"""From multipliers, ln [P], to errors ln(predicted / measured) [N]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a gain on held-back measurements must be to count: so many standard errors of it, such a share of the error.

    Chance passes the first where measurements are many, the second where they are few. `most_fraction`: error that may
    be left; beyond it something else was measured than what was stated.
    """

    standard_errors: float = 0.0
    share: float = 0.0
    most_fraction: float = inf


ANY_GAIN = Asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What the measurements say: multipliers of all beliefs, which of them they determine, and what it is worth.

    `reasons` say why a belief stays as it was, empty where it is known. Of all `figures` at least `used` entered the
    fit that each of the `held_back` ones was checked with.
    `before_fraction` and `after_fraction` are the mean sizes of error, exp(mean |ln|) − 1, on held-back measurements;
    `gain_errors` is what |ln| lost on average over the standard error of that.
    """

    beliefs: tuple[Belief, ...]
    fitted: Fitted
    known: tuple[bool, ...]
    before_fraction: float
    after_fraction: float
    used: int
    held_back: int
    figures: int
    reasons: tuple[str, ...]
    gain_errors: float
    asked: Asked = ANY_GAIN

    @property
    def improves(self) -> bool:
        """Whether held-back measurements are predicted better than before, by as much as was asked."""
        enough = self.after_fraction < (1 - self.asked.share) * self.before_fraction
        return enough and self.is_explained and self.gain_errors >= self.asked.standard_errors

    @property
    def is_explained(self) -> bool:
        """Whether no more error is left than a machine can be the reason of."""
        return self.after_fraction <= self.asked.most_fraction


def own_beliefs(tags: Sequence[str]) -> tuple[Belief, ...]:
    """Return what can differ on the accelerators and engines of some measurements, given their tags."""
    machines = sorted({tag for tag in tags if tag.startswith("gpu:")})
    engines = sorted({tag for tag in tags if tag.startswith("engine:") and "-" not in tag})
    found = [Belief(factor=name, spread=OFFSET, tag=tag) for tag in machines for name in MACHINE]
    return (*found, *(Belief(factor=name, spread=OFFSET, tag=tag) for tag in engines for name in ENGINE))


def held_back(count: int) -> Which:
    """Return which of `count` measurements are kept for checking."""
    apart: Which = np.arange(count) % HELD_BACK_EVERY == HELD_BACK_EVERY - 1
    return apart


def fit_own(
    observe: Observe,
    beliefs: Sequence[Belief],
    apart: Which | None = None,
    asked: Asked = ANY_GAIN,
    errors: Errors | None = None,
) -> Own:
    """Return what measurements say; those held back never enter the fit that is checked with them.

    They are `apart`: of shape [N], or [K, N] where K parts are held back in turn. `errors` are given for plays, which
    are dear, so that none is spent on slopes nobody asks for, and jump, so that slopes do not tell all.
    Only what can be told is fitted: a belief that nothing depends on, that acts like another, or that stays as open as
    it was keeps its value while the rest is fitted, so that it takes no part of what the others explain. What
    stands for others is as open as they are, as far as they could have done what it was fitted to.
    """
    everything = np.ones(len(beliefs), dtype=np.bool_)
    first = observe(np.zeros(len(beliefs)), everything)
    turns = np.atleast_2d(held_back(len(first.errors)) if apart is None else apart)
    reasons, shared = _indistinct(first, beliefs)
    aside = 0.0 if errors is None else ASIDE
    errors = errors or (lambda logs: observe(logs, everything).errors)
    sight = _Sight(observe=observe, errors=errors, beliefs=tuple(beliefs), aside=aside)
    parts = [_settled(sight, reasons, ~out)[0] for out in turns]
    before = np.concatenate([first.errors[out] for out in turns])
    after = np.concatenate([sight.errors(part.logs)[out] for part, out in zip(parts, turns, strict=True)])
    whole, reasons = _settled(sight, reasons, np.ones_like(turns[0]))
    prior = np.array([belief.spread for belief in beliefs])
    return Own(
        beliefs=tuple(beliefs),
        fitted=replace(whole, spreads=np.minimum(np.hypot(whole.spreads, shared), prior)),
        known=tuple(not reason for reason in reasons),
        before_fraction=_mean(before),
        after_fraction=_mean(after),
        used=int((~turns).sum(axis=1).min()),
        held_back=int(turns.sum()),
        figures=len(first.errors),
        reasons=reasons,
        gain_errors=_gain_errors(before, after),
        asked=asked,
    )


def _indistinct(evidence: Evidence, beliefs: Sequence[Belief]) -> tuple[tuple[str, ...], Floats]:
    """Return why beliefs cannot be told by these measurements, and how open the others are for their sake, ln [P].

    Of several that act alike the strongest can be told, for all of them.
    """
    sizes = np.linalg.norm(evidence.slopes, axis=0)
    turned = evidence.slopes / np.maximum(sizes, 1e-12)
    reasons = ["a little of it changes nothing measured"] * len(beliefs)
    told: list[int] = []
    shared = np.zeros(len(beliefs))
    for at in np.argsort(-sizes, kind="stable"):
        if np.abs(evidence.slopes[:, at]).max() < SEEN:
            continue
        like = next((other for other in told if abs(turned[:, other] @ turned[:, at]) > ALIKE), None)
        reasons[at] = "" if like is None else f"acts like {beliefs[like].factor}, which is fitted for both"
        if like is None:
            told.append(int(at))
        else:
            shared[like] = np.hypot(shared[like], beliefs[at].spread * sizes[at] / sizes[like])
    return tuple(reasons), shared


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """What measurements say at some multipliers of the beliefs, and what is off there."""

    observe: Observe
    errors: Errors
    beliefs: tuple[Belief, ...]
    aside: float


def _settled(sight: _Sight, reasons: tuple[str, ...], rows: Which) -> tuple[Fitted, tuple[str, ...]]:
    """Return the fit to some measurements of what they determine, and why the rest stays.

    Spreads grow where errors exceed the noise that was expected.
    """
    fitted = _fitted(sight, reasons, rows)
    known = determined(sight.beliefs, fitted)
    open_still = "too little of what was measured depends on it"
    more = tuple(reason or ("" if sure else open_still) for reason, sure in zip(reasons, known, strict=True))
    fitted = fitted if more == reasons else _fitted(sight, more, rows)
    left = sight.observe(fitted.logs, np.zeros(len(known), dtype=np.bool_)).take(rows)
    excess = max(1.0, float(np.mean(left.weights * left.errors**2)) ** 0.5 / NOISE)
    prior = np.array([belief.spread for belief in sight.beliefs])
    return replace(fitted, spreads=np.minimum(fitted.spreads * excess, prior)), more


def _fitted(sight: _Sight, reasons: Sequence[str], rows: Which) -> Fitted:
    """Return multipliers of the beliefs without a reason to stay: from where no place that is tried is better."""
    beliefs, free = sight.beliefs, np.array([not reason for reason in reasons])
    logs = np.zeros(len(beliefs))
    for _ in range(TURNS):
        seen = sight.observe(logs, free).take(rows)
        aim = step(replace(seen, slopes=seen.slopes * free), beliefs, logs)
        enough = misfit(seen.errors, seen.weights, beliefs, logs) - SETTLED
        places = _places(logs, aim.logs, sight.aside * np.eye(len(free))[free])
        better = (at for at in places if misfit(sight.errors(at)[rows], seen.weights, beliefs, at) < enough)
        found = next(better, None)
        if found is None:
            break
        logs = found
    return replace(aim, logs=logs)


def _places(logs: Floats, aim: Floats, ways: Floats) -> Iterator[Floats]:
    """Yield where a step may lead: to its aim, nearer and nearer, a little along either end of other ways."""
    yield from (logs + (aim - logs) / 2**halving for halving in range(HALVINGS))
    yield from (logs + way for way in (*ways, *-ways) if way.any())


def _gain_errors(before: Floats, after: Floats) -> float:
    gains = np.abs(before) - np.abs(after)
    return float(np.mean(gains) / max(float(np.std(gains)) / len(gains) ** 0.5, 1e-12))


def _mean(errors: Floats) -> float:
    return float(np.expm1(np.mean(np.abs(errors))))
