"""One cut in one role of a split deployment, on every machine at once: what it holds, and how long its steps take.

Halves are priced by themselves, so that all pairs of them cost no more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.collectives import exchange, transfer_s
from sizewell.costs.machines import Reached
from sizewell.costs.work import Collective
from sizewell.planner.columns import Rows, Variant
from sizewell.planner.disaggregation import prefill_lengths
from sizewell.planner.evaluate import SEQUENCE_LIMITS, Trial
from sizewell.planner.nearest import Nearest
from sizewell.planner.step_table import StepTable, StepWorks
from sizewell.specs.deployment import Parallelism


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One cut in one role on M machines; where it does not fit it holds no requests and takes forever.

    `seats` are requests of full length that one replica holds at once and `usual` those half way through their output,
    both [M]. `table` has the steps of the machines `rows`. `near_s` and `far_s` [M] are how long its ranks send or
    receive the cache of one prompt inside a fabric and over the network.
    """

    variant: Variant
    rows: Rows
    table: StepTable
    seats: Floats
    usual: Floats
    near_s: Floats
    far_s: Floats

    def spread(self, values: Floats) -> Floats:
        """Return values of `rows` for all machines, infinite elsewhere, shape [M, …]."""
        whole = np.full((len(self.seats), *values.shape[1:]), np.inf)
        whole[self.rows] = values
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """The halves that may be paired: same formats, same budget of tokens, machines of one yard."""

    trial: Trial
    fronts: tuple[Half, ...]
    backs: tuple[Half, ...]


def paired_halves(trial: Trial, cuts: Sequence[Parallelism], carrying: Reached) -> Iterator[Halves]:
    """Yield the halves of some cuts, those that may be paired together; `carrying` are the machines of the yard as they
    carry caches.

    Caches are handed over from rank to rank: cuts with pipeline stages are left out.
    """
    trial = replace(trial, nearest=Nearest.of(len(trial.yard.machines)))
    before = StepWorks(trial.works.model, prefill_lengths(trial.demand.lengths))
    found: dict[object, tuple[list[Half], list[Half]]] = {}
    for cut in (cut for cut in cuts if cut.pp == 1):
        housed = trial.rows[trial.yard.houses(cut, trial.question.limits.max_nodes)[trial.rows]]
        for base, rows in trial.bases(cut, housed):
            held = _held(trial, base, rows)
            if held is None:
                continue
            fronts, backs = found.setdefault((base.formats, base.settings), ([], []))
            fronts.append(_half(replace(trial, works=before), held, carrying))
            backs.append(_half(trial, held, carrying))
    for fronts, backs in found.values():
        yield Halves(trial=trial, fronts=tuple(fronts), backs=tuple(backs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What one replica of a cut holds under the limit on sequences that makes most room: `usual` requests [N]."""

    variant: Variant
    rows: Rows
    usual: Floats
    token_bytes: float


def _held(trial: Trial, base: Variant, rows: Rows) -> _Held | None:
    whole = trial.rank_memories(base, rows)
    usual = np.zeros(len(rows))
    for limit in SEQUENCE_LIMITS:
        settings = replace(base.settings, max_num_seqs=limit)
        most = limit * base.cut.dp
        worth = usual < most
        if not worth.any():
            break
        room = np.minimum(trial.room(replace(base, settings=settings), rows[worth], whole), most)
        usual[worth] = np.maximum(usual[worth], room)
    somewhere = usual >= 1
    if not somewhere.any():
        return None
    token_bytes = max(memory.kv_bytes_per_token for memory, _ in whole)
    return _Held(variant=base, rows=rows[somewhere], usual=usual[somewhere], token_bytes=token_bytes)


def _half(trial: Trial, held: _Held, carrying: Reached) -> Half:
    (table,) = trial.tables([held.variant], held.rows)
    demand, machines = trial.demand, len(trial.yard.machines)
    usual = np.zeros(machines)
    usual[held.rows] = held.usual
    prompt = np.array([held.token_bytes * trial.question.workload.input_tokens])
    message = exchange(Collective(kind="send", ranks=2, bytes=prompt), carrying)
    return Half(
        variant=held.variant,
        rows=held.rows,
        table=table,
        seats=usual * min(1.0, demand.lengths.decode_context_tokens / demand.context_tokens),
        usual=usual,
        near_s=(message.latency_s + message.wire_s)[:, 0],
        far_s=transfer_s(prompt, carrying, 1)[:, 0],
    )
