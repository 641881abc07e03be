"""What users feel once a load has settled, in closed form; every answer obeys Little's law with its own numbers.

With D sequences decoding, a step of a(D) seconds, a prompt that adds s(D) and O output tokens:

    tpot = a(D) + D·s(D) / (O − 1)            every slot turns over once in O − 1 steps, and lets one prompt in
    x    = D / ((O − 1)·tpot)                 requests per second
    ttft = own prefill + waiting              grows with the share of time u = x·s(D) that goes to prompts
    C    = x·(ttft + (O − 1)·tpot)            users that keep D sequences decoding

So one pass over a grid of D gives all four; a given C is found by interpolation, and users beyond the most that
fit only wait: tpot and x stay, ttft grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sizewell.costs.batch import Floats
from sizewell.planner.step_table import StepTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one replica may hold: sequences by setting, tokens of KV cache by memory; shape [M] or scalars."""

    max_sequences: float
    kv_tokens: ArrayLike = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Means of one replica on M machines over a grid of B decoding sequences, shape [M, B].

    `users` is the closed-loop concurrency that keeps `sequences` decoding. Entries beyond a machine's `most`
    sequences hold what they would be without the limit; `at_users` respects it.
    """

    sequences: Floats
    most: Floats
    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    users: Floats
    output_tokens: float

    def at_users(self, users: ArrayLike) -> Point:
        """Return what `users` (scalar or shape [M]) on one replica feel; more than fit wait before their prefill."""
        wanted = np.broadcast_to(np.asarray(users, dtype=np.float64), self.most.shape)
        full = self.at_sequences(self.most)
        inside = np.minimum(wanted, full.users)
        ttft, tpot = self._at(self.users, inside)
        gaps = self.output_tokens - 1
        e2e = ttft + gaps * tpot
        beyond = wanted > full.users
        tpot = np.where(beyond, full.tpot_s, tpot)
        e2e = np.where(beyond, wanted / full.requests_per_s, e2e)
        return Point(ttft_s=e2e - gaps * tpot, tpot_s=tpot, requests_per_s=wanted / e2e, users=wanted)

    def at_sequences(self, sequences: Floats) -> Point:
        """Return what is felt while `sequences` [M] decode on one replica."""
        grid = np.broadcast_to(self.sequences, self.users.shape)
        ttft, tpot = self._at(grid, sequences)
        rate = sequences / np.maximum((self.output_tokens - 1) * tpot, 1e-12)
        return Point(
            ttft_s=ttft, tpot_s=tpot, requests_per_s=rate, users=rate * (ttft + (self.output_tokens - 1) * tpot)
        )

    def _at(self, known: Floats, wanted: Floats) -> tuple[Floats, Floats]:
        found = [
            (np.interp(x, k, t), np.interp(x, k, p))
            for x, k, t, p in zip(wanted, known, self.ttft_s, self.tpot_s, strict=True)
        ]
        ttft, tpot = np.array(found).T
        return ttft, tpot


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means under one load, shape [M] and per replica: users = requests_per_s × (ttft_s + gaps × tpot_s)."""

    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    users: Floats


def rates(table: StepTable, limits: Limits, request_s: float = 0.0) -> Rates:
    """Return the steady state over the grid of a step table; `request_s` is spent on a request before its prefill."""
    gaps = max(table.lengths.output_tokens - 1, 1.0)
    sequences = table.sequences[None, :]
    step_s = table.decode_s / table.policy.accepted_tokens
    tpot = step_s + sequences * table.prompt_s / gaps
    throughput = sequences / (gaps * tpot)
    busy = np.minimum(throughput * table.prompt_s, 0.98)
    waiting = busy / (1 - busy) * table.prompt_s / 2
    ttft = request_s + table.alone_s[:, None] + table.decode_s / 2 + waiting
    context = table.lengths.decode_context_tokens
    most = np.minimum(limits.max_sequences, np.asarray(limits.kv_tokens, dtype=np.float64) / max(context, 1.0))
    most = np.minimum(np.broadcast_to(most, table.alone_s.shape), table.sequences[-1])
    return Rates(
        sequences=table.sequences,
        most=np.maximum(most, 1.0),
        ttft_s=ttft,
        tpot_s=tpot,
        requests_per_s=throughput,
        users=np.maximum.accumulate(throughput * (ttft + gaps * tpot), axis=1),
        output_tokens=gaps + 1,
    )
