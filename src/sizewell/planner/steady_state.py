"""What users feel once a load has settled, in closed form; every answer obeys Little's law with its own numbers.

With D sequences decoding, a step of a(D) seconds, a prompt that adds s(D) and O output tokens:

    tpot = a(D) + (D − 1)·s(D) / (O − 1)      in O − 1 steps every other slot turns over and lets one prompt in
    x    = D / ((O − 1)·tpot)                 requests per second
    ttft = own pass + waiting                 grows with the share of time u = x·s(D) that goes to prompts
    C    = x·(ttft + (O − 1)·tpot)            users that keep D sequences decoding

So one pass over a grid of D gives all four; a given C is found by interpolation, and users beyond the most that
fit only wait: tpot and x stay, ttft grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sizewell.costs.batch import Floats
from sizewell.planner.step_table import StepTable

EACH_FOR_ALL = 2.0
"""Burst at which every request waits for the prompts of all others: there are no more to wait for."""

MOST_BUSY = 0.98
"""Share of time for prompts above which the waiting formula is no longer believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one replica may hold: sequences by setting, tokens of KV cache by memory; scalars or shape [M]."""

    max_sequences: ArrayLike
    kv_tokens: ArrayLike = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads:
    """What happens around the steps instead of what the calibration says.

    `request_s` goes by on each request before its prefill; `burst` is the share of requests that start together
    (equal lengths, first wave of a benchmark): they wait for each other's prompts before their first token instead
    of between tokens; 1 = for half of them on average, 2 = each for all.
    """

    request_s: float | Floats = 0.0
    burst: float | Floats = 0.0

    @classmethod
    def settled(cls, table: StepTable) -> Overheads:
        """Return those of users who came one after the other, as no first wave of a benchmark does."""
        return cls(request_s=table.request_s[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means under one load, shape [M] and per replica: users = requests_per_s × (ttft_s + gaps × tpot_s)."""

    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    gaps: float
    saturated: NDArray[np.bool_]

    @property
    def e2e_s(self) -> Floats:
        """Seconds from sending to the last token."""
        return self.ttft_s + self.gaps * self.tpot_s

    @property
    def users(self) -> Floats:
        """Requests in the replica at any time, waiting ones included."""
        return self.requests_per_s * self.e2e_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A prefill pool seen from one decode replica, shapes [M]: a request that finds nobody there has its first token
    after `own_s`; the pool has a prompt done every `prompt_s`.
    """

    own_s: Floats
    prompt_s: Floats

    def first_s(self, requests_per_s: Floats) -> Floats:
        """Return the mean time to the first token (M/D/1) under a rate, shape [M] or [M, B]."""
        busy = np.minimum(requests_per_s.T * self.prompt_s, MOST_BUSY)
        waited: Floats = (self.own_s + busy / (1 - busy) * self.prompt_s / 2).T
        return waited


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Means of one replica on M machines over a grid of B decoding sequences, shape [M, B].

    `users` is the closed-loop concurrency that keeps `sequences` decoding; `most` [M] what limits allow. Entries
    beyond `most` hold what would be without the limit. `calm` is the same without requests that start together, as
    under independent arrivals. `request_s` goes by on each request before its prefill, which is done by another pool
    if there is one in `front`.
    """

    table: StepTable
    most: Floats
    request_s: float | Floats
    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    users: Floats
    calm: Rates | None = None
    front: Front | None = None

    @property
    def gaps(self) -> float:
        """Tokens after the first one."""
        return self.table.lengths.gaps

    def within(self, limits: Limits) -> Rates:
        """Return the same under other limits."""
        return replace(
            self, most=most_sequences(self.table, limits), calm=None if self.calm is None else self.calm.within(limits)
        )

    def at_users(self, users: ArrayLike) -> Point:
        """Return what `users` (scalar or shape [M]) on one replica feel; more than fit wait before their prefill."""
        wanted = np.broadcast_to(np.asarray(users, dtype=np.float64), self.most.shape)
        full = self.at_sequences(self.most)
        beyond = wanted > full.users
        ttft, tpot = self._at(self.users, np.minimum(wanted, full.users))
        tpot = np.where(beyond, full.tpot_s, tpot)
        e2e = np.where(beyond, wanted / full.requests_per_s, ttft + self.gaps * tpot)
        return Point(
            ttft_s=e2e - self.gaps * tpot, tpot_s=tpot, requests_per_s=wanted / e2e, gaps=self.gaps, saturated=beyond
        )

    def at_sequences(self, sequences: Floats) -> Point:
        """Return what is felt while `sequences` [M] decode on one replica."""
        ttft, tpot = self._at(np.broadcast_to(self.table.sequences, self.users.shape), sequences)
        rate = sequences / (self.gaps * tpot)
        return Point(ttft_s=ttft, tpot_s=tpot, requests_per_s=rate, gaps=self.gaps, saturated=sequences > self.most)

    def at_rate(self, requests_per_s: ArrayLike) -> Point:
        """Return what is felt under independent arrivals; saturated machines have ttft = inf and serve what they can.

        Waiting is that of a single server with Poisson arrivals whose service is one prompt (M/D/1), plus, near the
        limit of sequences, that of `most` servers (Sakasegawa's approximation).
        """
        if self.calm is not None:
            return self.calm.at_rate(requests_per_s)
        wanted = np.broadcast_to(np.asarray(requests_per_s, dtype=np.float64), self.most.shape)
        full = self.at_sequences(self.most)
        saturated = wanted >= full.requests_per_s
        ttft, tpot = self._independent(np.minimum(wanted, full.requests_per_s), full.tpot_s)
        load = np.minimum(wanted / full.requests_per_s, 0.999)
        residence = full.gaps * full.tpot_s
        queued = load ** (np.sqrt(2 * (self.most + 1)) - 1) / (1 - load) * residence / self.most / 2
        ttft, tpot = np.where(saturated, np.inf, ttft + queued), np.where(saturated, full.tpot_s, tpot)
        rate = np.minimum(wanted, full.requests_per_s)
        return Point(ttft_s=ttft, tpot_s=tpot, requests_per_s=rate, gaps=self.gaps, saturated=saturated)

    def _independent(self, rate: Floats, most_tpot_s: Floats) -> tuple[Floats, Floats]:
        """Return TTFT and TPOT, of a full replica at most, where `rate` [M] requests come whatever is under way.

        Who comes finds as many others as there are on average, x·(O − 1)·tpot, and goes on among one more. In a closed
        loop it finds one fewer.
        """
        table = self.table
        grid = np.broadcast_to(table.sequences, table.decode_s.shape)
        step_s = table.decode_s / table.accepted_tokens[:, None]
        between_s = np.zeros_like(step_s) if self.front else table.prompt_s
        known = (grid - 1) / (self.gaps * step_s + (grid - 1) * between_s)
        among = interpolate(rate, known, grid)
        busy = np.minimum(rate * interpolate(among, grid, between_s), MOST_BUSY)
        tpot = np.minimum(interpolate(among, grid, step_s) / (1 - busy), most_tpot_s)
        if self.front:
            return self.front.first_s(rate), tpot
        decode, prompt, ride = (interpolate(among, grid, s) for s in (table.decode_s, table.prompt_s, table.ride_s))
        steps = _Steps(table.alone_s, decode, prompt, ride, table.work.policy.mixes)
        return self.request_s + steps.first_s(among, busy), tpot

    def all_at_once(self, requests: ArrayLike) -> Point:
        """Return the means of `requests` that all start now; throughput is that of the whole run."""
        count = np.broadcast_to(np.asarray(requests, dtype=np.float64), self.most.shape)
        held = np.minimum(count, self.most)
        full = self.at_sequences(held)
        run_s = count / full.requests_per_s
        prompt_s = interpolate(held, self.table.sequences, self.table.prompt_s)
        wave_s = held * prompt_s
        tpot = full.tpot_s - wave_s / 2 / self.gaps * (held / count)
        ttft = (run_s - self.gaps * tpot) / 2 + np.where(count > held, 0.0, wave_s / 4)
        accepted_s = self.table.accepted_s(count)
        return Point(
            ttft_s=np.maximum(ttft, self.table.alone_s) + accepted_s,
            tpot_s=tpot,
            requests_per_s=count / (run_s + accepted_s),
            gaps=self.gaps,
            saturated=count > self.most,
        )

    def static(self, sequences: ArrayLike, prompts_s: Floats) -> Point:
        """Return the means of a batch whose prompts take `prompts_s` [M] together, before it is decoded without anybody
        joining.
        """
        count = np.broadcast_to(np.asarray(sequences, dtype=np.float64), self.most.shape)
        step_s = interpolate(count, self.table.sequences, self.table.decode_s) / self.table.accepted_tokens
        ttft = np.maximum(prompts_s, self.table.alone_s)
        run_s = ttft + self.gaps * step_s
        over = count > self.most
        return Point(ttft_s=ttft, tpot_s=step_s, requests_per_s=count / run_s, gaps=self.gaps, saturated=over)

    def _at(self, known: Floats, wanted: Floats) -> tuple[Floats, Floats]:
        return interpolate(wanted, known, self.ttft_s), interpolate(wanted, known, self.tpot_s)


def rates(table: StepTable, limits: Limits, overheads: Overheads | None = None) -> Rates:
    """Return the steady state over the grid of a step table."""
    around = overheads or Overheads(request_s=table.request_s[:, None], burst=table.burst[:, None])
    most = most_sequences(table, limits)
    calm = _settled(table, most, Overheads(request_s=around.request_s))
    return replace(_settled(table, most, around), calm=calm) if np.any(around.burst) else calm


def _settled(table: StepTable, most: Floats, around: Overheads) -> Rates:
    gaps, sequences = table.lengths.gaps, table.sequences[None, :]
    others_s = (sequences - 1) * table.prompt_s
    burst = np.minimum(around.burst, EACH_FOR_ALL) * others_s / 2
    step_s = table.decode_s / table.accepted_tokens[:, None]
    # However few decode, prompts come through one after the other: x·s ≤ 1.
    tpot = np.maximum(step_s + (others_s - burst) / gaps, sequences * table.prompt_s / gaps)
    throughput = sequences / (gaps * tpot)
    busy = np.minimum(throughput * table.prompt_s, MOST_BUSY)
    steps = _Steps(table.alone_s[:, None], table.decode_s, table.prompt_s, table.ride_s, table.work.policy.mixes)
    ttft = around.request_s + steps.first_s(sequences, busy) + burst
    return Rates(
        table=table,
        most=most,
        request_s=np.ravel(around.request_s),
        ttft_s=ttft,
        tpot_s=tpot,
        requests_per_s=throughput,
        users=np.maximum.accumulate(throughput * (ttft + gaps * tpot), axis=1),
    )


class _Steps(NamedTuple):
    """What a prompt meets, arrays that broadcast: its own pass on an idle replica, a step that only decodes, what a
    prompt adds to the steps it rides on, how long these last without it; whether prompts ride at all.
    """

    alone_s: Floats
    decode_s: Floats
    prompt_s: Floats
    ride_s: Floats
    mixes: bool

    def first_s(self, sequences: Floats, busy: Floats) -> Floats:
        """Return seconds to the first token where `sequences` decode, the own one among them, and prompts take the
        share `busy` of the time.
        """
        others = 1 - 1 / sequences
        own = np.maximum(self.alone_s, others * (self.ride_s + self.prompt_s))
        waited: Floats = own + others * (self._rides(busy) if self.mixes else self._turns(busy))
        return waited

    def _turns(self, busy: Floats) -> Floats:
        """Return the wait for half a decode step and for the prompts ahead, one after the other (M/D/1)."""
        return self.decode_s / 2 + busy / (1 - busy) * self.prompt_s / 2

    def _rides(self, busy: Floats) -> Floats:
        """Return the wait for the running step and for the prompts that join the same next one.

        A step lasts L = a + s·k with k prompts, Poisson at x·(the step before): E = a/(1 − u), and its second moment
        E2 = (a² + 2·a·u·E + s·u·E)/(1 − u²). Who arrives finds E2/(2·E) of it left, and u times twice that in company.
        """
        mean = self.decode_s / (1 - busy)
        second = self.decode_s**2 + (2 * self.decode_s + self.prompt_s) * busy * mean
        left: Floats = second / (1 - busy**2) / (2 * mean)
        return left * (1 + 2 * busy)


def most_sequences(table: StepTable, limits: Limits) -> Floats:
    """Return how many sequences may decode at once, by setting and by cache, shape [M] and at least one."""
    context = max(table.lengths.decode_context_tokens, 1.0)
    by_cache = np.asarray(limits.kv_tokens, dtype=np.float64) / context
    most = np.minimum(np.asarray(limits.max_sequences, dtype=np.float64), by_cache)
    within = np.clip(np.broadcast_to(most, table.alone_s.shape), 1.0, table.sequences[-1])
    return np.asarray(within, dtype=np.float64)


def interpolate(wanted: Floats, known: Floats, values: Floats) -> Floats:
    """Return values at `wanted` [M] by straight lines between the grid points of each machine; flat beyond the ends."""
    rows = np.broadcast_to(known, values.shape)
    right = np.clip((rows < wanted[:, None]).sum(axis=1), 1, rows.shape[1] - 1)[:, None]
    low, high = np.take_along_axis(rows, right - 1, 1), np.take_along_axis(rows, right, 1)
    share = np.clip((wanted[:, None] - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    below, above = np.take_along_axis(values, right - 1, 1), np.take_along_axis(values, right, 1)
    found: Floats = (below + share * (above - below))[:, 0]
    return found
