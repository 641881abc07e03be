"""One step of a deployment, priced by the cost model on its own cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, price
from sizewell.costs.work import total_work
from sizewell.specs.deployment import Deployment, Formats

COMMUNICATION = ("collectives", "send")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Seconds of one step, the least physics allows, and one rank's work in it."""

    seconds: float
    floor_s: float
    parts: Mapping[str, float]
    bound_by: str
    flops: float
    hbm_bytes: float

    @property
    def communication_fraction(self) -> float:
        """Share of the step spent in messages between ranks."""
        return sum(self.parts.get(name, 0.0) for name in COMMUNICATION) / self.seconds


def decode_step(deployed: Deployment, sequences: int, context_tokens: int, offload_bytes: float = 0.0) -> Step:
    """Return the step in which every sequence gets one token; `offload_bytes` are read from the host by each rank."""
    return _step(deployed, Batch.decode(sequences, context_tokens), offload_bytes)


def prefill_step(deployed: Deployment, prompt_tokens: int) -> Step:
    """Return the step that computes one whole prompt."""
    return _step(deployed, Batch.prefill(prompt_tokens))


def _step(deployed: Deployment, batch: Batch, offload_bytes: float = 0.0) -> Step:
    pool = deployed.pools[0]
    formats = Formats(weight=deployed.weight_format, kv=deployed.kv_format)
    operators = step_operators(deployed.model, formats, pool.parallelism, batch)
    reached = Reached.of(Machines.of([deployed.cluster]), read_efficiencies(), also=deployed.engine.tags)
    launch = Launch(
        sequences=batch.sampled,
        eager=pool.settings.enforce_eager or deployed.engine.launch == "eager",
        stages=pool.parallelism.pp,
        offload_bytes=offload_bytes,
    )
    timed = price(operators, reached, launch)
    work = total_work(operators)
    return Step(
        seconds=float(timed.total_s[0, 0]),
        floor_s=float(timed.floor_s[0, 0]),
        parts={name: float(seconds[0, 0]) for name, seconds in timed.parts.items()},
        bound_by=str(timed.bound_by[0, 0]),
        flops=float(work.total_flops[0]),
        hbm_bytes=float(work.hbm_bytes[0]),
    )
