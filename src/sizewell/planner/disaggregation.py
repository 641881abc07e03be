"""The steady state of a prefill pool that hands finished caches to a decode pool over the network.

Decode steps see no prompts; a request waits for a prefill replica, its own prefill and the transfer of its cache.
With n_p prefill and n_d decode replicas, a prompt of s seconds and x requests per second and decode replica, prefill
is busy for u = x·s·n_d/n_p of the time and can never serve more than n_p/s requests per second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.collectives import transfer_s
from sizewell.costs.machines import Reached
from sizewell.planner.steady_state import MOST_BUSY, Front, Limits, Overheads, Rates, most_sequences
from sizewell.planner.step_table import Lengths, StepTable


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillPool:
    """A prefill pool seen from one decode replica.

    `table` prices its replicas, `per_decode_replica` of which feed one decode replica; a prompt's cache takes
    `handover_s` [M] to cross.
    """

    table: StepTable
    per_decode_replica: float
    handover_s: Floats

    @property
    def prompt_s(self) -> Floats:
        """Seconds of prefill per prompt at full load, all feeding replicas together, shape [M]."""
        return full_prompt_s(self.table) / self.per_decode_replica


def full_prompt_s(table: StepTable) -> Floats:
    """Return the seconds a prompt adds to a step that is full of prompts, shape [M].

    Where more sequences decode beside them than ever do in a prefill pool, their weights would seem to be read already.
    """
    fullest: Floats = table.prompt_s[:, int(np.argmax(table.work.chunk))]
    return fullest


def prefill_lengths(lengths: Lengths) -> Lengths:
    """Return requests as a prefill pool sees them: gone after their first token, so that prompts share steps."""
    return Lengths(prompt_tokens=lengths.prompt_tokens, cached_tokens=lengths.cached_tokens, output_tokens=1.0)


def handover_s(back: StepTable, reached: Reached, senders: float) -> Floats:
    """Return seconds to move the cache of one prompt to a decode replica, every rank over a line of its own, shape [M].

    `senders` prefill ranks stand for each decode rank; fewer than one of them send more than each receives.
    """
    held = np.array([cache_bytes_per_token(back) * back.lengths.prompt_tokens / min(senders, 1.0)])
    moved: Floats = transfer_s(held, reached, 1)[:, 0]
    return moved


def cache_bytes_per_token(table: StepTable) -> float:
    """Return cache bytes of one context token on one rank, from what a decoding sequence reads."""
    work = table.work
    read = sum(float((o.hbm_bytes * o.repeats)[0]) for o in work.steps.operators if o.part == "attention-decode")
    sequences = min(float(work.sequences[0]) / work.stages, 1.0)
    return read / (sequences * max(work.lengths.decode_context_tokens, 1.0))


def disaggregated_rates(
    front: PrefillPool, back: StepTable, limits: Limits, overheads: Overheads | None = None
) -> Rates:
    """Return the steady state of one decode replica and the prefill replicas that feed it."""
    around = overheads or Overheads(request_s=back.request_s, burst=back.burst)
    gaps = back.lengths.gaps
    sequences = back.sequences[None, :]
    tpot = back.decode_s / back.accepted_tokens[:, None]
    throughput = sequences / (gaps * tpot)
    burst_s = np.reshape(around.burst, (-1, 1)) * (sequences - 1) * front.prompt_s[:, None] / 2
    apart = Front(own_s=around.request_s + front.table.alone_s + front.handover_s, prompt_s=front.prompt_s)
    ttft = apart.first_s(throughput) + burst_s
    by_prefill = [
        np.interp(x, rates, back.sequences) if x >= rates[0] else x / rates[0]
        for x, rates in zip(MOST_BUSY / front.prompt_s, throughput, strict=True)
    ]
    return Rates(
        table=back,
        most=np.minimum(most_sequences(back, limits), by_prefill),
        request_s=np.ravel(around.request_s),
        ttft_s=ttft,
        tpot_s=tpot,
        requests_per_s=throughput,
        users=np.maximum.accumulate(throughput * (ttft + gaps * tpot), axis=1),
        front=apart,
    )
