"""A deployment split in two: the same replicas, some of which only compute prompts while the others only decode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sizewell.planner.prediction import steady_state
from sizewell.planner.rehearsal import Playing, Rehearsal, rehearse
from sizewell.specs.deployment import Deployment
from sizewell.traffic.workload import Slo, Workload

MOST_SPLITS = 8
"""Splits of one deployment that are simulated; of more replicas only some shares are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A deployment of a prefill and a decode pool, and what its simulation says."""

    deployment: Deployment
    rehearsal: Rehearsal


def unsplittable(deployment: Deployment) -> str:
    """Return why a deployment of one pool cannot be split into two; empty where it can."""
    if deployment.engine.name == "llama.cpp":
        return "llama.cpp hands no cache over"
    if deployment.pools[0].replicas < 2:
        return "one replica cannot be split; explain and simulate take other cuts as --prefill and --decode"
    return ""


def splits(deployment: Deployment, workload: Workload, slo: Slo, playing: Playing) -> tuple[Split, ...]:
    """Return the ways to split a deployment of one pool into two, simulated, fewest replicas for prompts first."""
    found = []
    for split in _divided(deployment) if not unsplittable(deployment) else ():
        given = steady_state(split, workload, playing.efficiencies)
        found.append(Split(deployment=split, rehearsal=rehearse(split, workload, given, slo, playing)))
    return tuple(found)


def _divided(deployment: Deployment) -> Iterator[Deployment]:
    (pool,) = deployment.pools
    shares = pool.replicas - 1
    tried = min(shares, MOST_SPLITS)
    for front in sorted({1 + place * shares // tried for place in range(tried)}):
        prefill = replace(pool, role="prefill", replicas=front)
        yield replace(deployment, pools=(prefill, replace(pool, role="decode", replicas=pool.replicas - front)))
