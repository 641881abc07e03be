"""What a diagnosis starts from and consists of: the case, its labels, and one finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.advisor.mix import Mix
from sizewell.advisor.observation import Observation
from sizewell.advisor.pace import Pace
from sizewell.costs.ledger import MemoryLedger
from sizewell.specs.deployment import Deployment

Label = Literal[
    "idle GPUs", "client", "cold prefix cache", "preemption storm", "replicated MLA KV", "KV capacity", "queueing",
    "prefill compute", "weights bandwidth", "decode attention", "decode compute", "interconnect",
    "host/launch overhead", "pipeline bubble", "offloaded weights", "slower than predicted", "faster than possible",
    "unknown",
]  # fmt: skip


ROUNDING = 0.02
"""How far above a stated rate what is counted may come by lengths that are means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that binds, the share of time or work it takes where that is known, and the figures that show it."""

    label: Label
    share: float | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of a server or plan. Without a deployment only what metrics say by themselves can be found.

    `pace` is what the deployment should do on the observed `mix`; `eager_s` what issuing every kernel costs of it;
    `expected_cached_fraction` what the workload's prompts share; `more_at_once` the gain in tokens per second if twice
    as many sequences decoded at once.
    """

    seen: Observation
    deployment: Deployment | None = None
    memory: MemoryLedger | None = None
    mix: Mix | None = None
    pace: Pace | None = None
    eager_s: float = 0.0
    expected_cached_fraction: float | None = None
    more_at_once: float | None = None

    @property
    def beats_the_floor(self) -> bool:
        """Whether tokens came faster than the stated hardware can give them: then it is not what runs."""
        if self.pace is None or not self.seen.token_s:
            return False
        told = self.seen.generated_tokens_per_s if self.seen.cached_fraction is not None else None
        used = max(self.pace.at(told)) if told else 0.0
        return self.seen.token_s < self.pace.floor_s or used > 1 + ROUNDING

    @property
    def slowness(self) -> float | None:
        """Measured over predicted time between tokens."""
        if self.pace is None or not self.seen.token_s:
            return None
        return self.seen.token_s / self.pace.token_s

    @property
    def replicates_latents(self) -> bool:
        """Whether every rank of a replica keeps the same latent cache."""
        if self.deployment is None:
            return False
        return self.deployment.model.is_latent and self.deployment.pools[-1].parallelism.tp > 1


def ms(seconds: float) -> str:
    """Return seconds as people read them in a sentence."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
