"""A run whose requests all start at once and end one by one: throughput lasts as long as the longest answer.

With answers of exponential length, mean O, the number D still decoding falls from K to 1 over O·ln K steps, so

    drain = O · ∫ step(D) / D dD  (1 … K)  +  (γ + (1 − γ)/K)·O·step(1)

as the expected longest of K answers is about O·(ln K + γ), and that of one is O.

Requests beyond the K that fit are served at the full rate before that.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike

from sizewell.costs.batch import Floats
from sizewell.planner.steady_state import Point, Rates, interpolate

SAMPLES = 64
SHORTEST_ANSWER_TOKENS = 4.0
"""Benchmarks leave out shorter answers; time between tokens is averaged over requests, so the short ones count most."""


def drained(settled: Rates, requests: ArrayLike) -> Point:
    """Return the means over `requests` of varied length that all start now; rates are those of the whole run."""
    table = settled.table
    count = np.broadcast_to(np.asarray(requests, dtype=np.float64), settled.most.shape)
    held = np.minimum(count, settled.most)
    full = settled.at_sequences(settled.most)
    queue_s = (count - held) / full.requests_per_s
    wave_s = held * interpolate(held, table.sequences, table.prompt_s)
    steps = _steps(settled, held)
    answer = table.lengths.gaps
    by_log = np.mean(steps.by_log, axis=0) * np.log(held)
    drain_s = answer * (by_log + (np.euler_gamma + (1 - np.euler_gamma) / held) * steps.last)
    accepted_s = table.accepted_s(count)
    run_s = accepted_s + queue_s + wave_s + drain_s
    waits_s = wave_s / 2 + (count - held) / count * (wave_s + queue_s) / 2
    tpot = np.mean(steps.evenly, axis=0) + wave_s / 2 * _mean_inverse(answer) * held / count
    ttft = accepted_s + np.maximum(waits_s, table.alone_s) + table.request_s
    return Point(ttft_s=ttft, tpot_s=tpot, requests_per_s=count / run_s, gaps=answer, saturated=count > settled.most)


class _Steps:
    """Seconds of a token while D sequences decode, D spaced by ratio and evenly from 1 to `held`, shape [S, M]."""

    def __init__(self, by_log: Floats, evenly: Floats, last: Floats) -> None:
        self.by_log, self.evenly, self.last = by_log, evenly, last


def _steps(settled: Rates, held: Floats) -> _Steps:
    table = settled.table
    per_token = table.decode_s / table.accepted_tokens[:, None]
    shares = (np.arange(SAMPLES) + 0.5) / SAMPLES
    by_log = [interpolate(held**share, table.sequences, per_token) for share in shares]
    evenly = [interpolate(1 + (held - 1) * share, table.sequences, per_token) for share in shares]
    return _Steps(np.array(by_log), np.array(evenly), interpolate(np.ones_like(held), table.sequences, per_token))


def _mean_inverse(mean_tokens: float) -> float:
    """Return the mean of 1 / length over exponential lengths of at least SHORTEST_ANSWER_TOKENS."""
    ratio = max(mean_tokens / SHORTEST_ANSWER_TOKENS, 1.0)
    return max(log(ratio) - float(np.euler_gamma), 1.0) / mean_tokens
