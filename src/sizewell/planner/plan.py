"""What is answered: plans that hold, the families that do not and why, and the assumptions that decide it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from sizewell.planner.bill_of_materials import BillOfMaterials
from sizewell.planner.means import Means
from sizewell.planner.objective import Merits
from sizewell.planner.offload import Placement
from sizewell.planner.question import PriceBasis, Question
from sizewell.planner.rehearsal import Rehearsal
from sizewell.specs.deployment import Deployment
from sizewell.specs.figure import Figure

Gate = Literal["parallelism", "format", "quality", "memory", "context", "speed", "size", "price", "power"]
"""The first test a family of candidates failed, in the order they are applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Means):
    """What users get at the stated load, means over requests in steady state.

    `saturation_*` is the largest load one replica holds within the limits; `headroom_fraction` = 1 − load / saturation.
    """

    concurrency_per_replica: float
    saturation_concurrency_per_replica: float
    bound_by: str

    @property
    def tokens_per_s_per_user(self) -> float:
        """Generation speed one user sees."""
        return 1 / self.tpot_s.value

    @property
    def headroom_fraction(self) -> float:
        """Share of a replica's capacity that the stated load leaves free."""
        return max(0.0, 1 - self.concurrency_per_replica / self.saturation_concurrency_per_replica)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Money and power at the stated load; None = no price is known, never a guess.

    `low` and `high` bound the offers behind `usd_per_hour`; `estimate` marks prices nobody listed.
    `purchase_usd` is the price of all nodes where they are bought. `service_units_per_hour` is what a cluster's own
    tariff charges; None while only the shipped example is known.
    """

    basis: PriceBasis
    usd_per_hour: float | None
    usd_per_hour_low: float | None
    usd_per_hour_high: float | None
    usd_per_million_output_tokens: float | None
    estimate: bool
    source: str
    power_w: float
    purchase_usd: float | None = None
    service_units_per_hour: float | None = None

    @property
    def usd_per_month(self) -> float | None:
        """Cost of 730 hours."""
        return None if self.usd_per_hour is None else self.usd_per_hour * 730


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Buying against renting the same nodes around the clock; `months` is None when renting stays cheaper.

    `host_usd` is the part of the capital that is not accelerators, None where a node is priced as a whole.
    """

    capital_usd: float
    host_usd: float | None
    running_usd_per_month: float
    rent_usd_per_month: float
    estimate: bool
    machine_known: bool

    @property
    def months(self) -> float | None:
        """Months after which what was bought has cost less than rent."""
        saved = self.rent_usd_per_month - self.running_usd_per_month
        return self.capital_usd / saved if saved > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """One rank's memory, the worst of all pipeline stages, in bytes; the whole ledger is `costs.ledger`."""

    total_bytes: float
    weight_bytes: float
    other_bytes: float
    kv_bytes: float
    kv_tokens: float
    max_concurrency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is worked out for plans that are shown, and not for every point of a frontier.

    `burst_ttft_s` is the mean time to first token when all users send at once to idle replicas. `placement` says which
    weights lie in host memory, where any do; `break_even` is None when either price is unknown.
    """

    materials: BillOfMaterials
    burst_ttft_s: Figure
    break_even: BreakEven | None
    placement: Placement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """What two pools add to a plan: the way of a prompt's cache, and the share of what each can do that the load takes.

    `memory` is one prefill rank's; a plan's own is that of a decode rank.
    """

    network: str
    handover_s: float
    prefill_busy_fraction: float
    decode_busy_fraction: float
    memory: MemoryUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A deployment that holds, with what it gives and costs; where there is a `rehearsal`, `service` repeats it.

    Of two pools, `service` counts by decode replica, and `pool_use` says how the other one and the network are used.
    """

    deployment: Deployment
    service: Service
    cost: Cost
    memory: MemoryUse
    recovery_fraction: float | None
    recovery_source: str
    details: Details | None = None
    rehearsal: Rehearsal | None = None
    pool_use: PoolUse | None = None

    @property
    def gpus(self) -> int:
        """Accelerators in use."""
        return self.deployment.gpus

    @property
    def merits(self) -> Merits[float]:
        """What it is ordered by, beside others."""
        return Merits(
            gpus=self.gpus,
            usd_per_hour=inf if self.cost.usd_per_hour is None else self.cost.usd_per_hour,
            purchase_usd=inf if self.cost.purchase_usd is None else self.cost.purchase_usd,
            power_w=self.cost.power_w,
            e2e_s=self.service.e2e_s.value,
            output_tokens_per_s=self.service.output_tokens_per_s.value,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A family of candidates that cannot hold, the gate it failed, and the numbers that say so.

    `best` is the member that came nearest.
    """

    family: str
    gate: Gate
    reason: str
    candidates: int
    best: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAnswer:
    """Plans of two pools by rank, one for each accelerator, and what they gain over the best plan of one, or why not.

    `one_pool` is that plan, its replicas counted as closely (None where nothing of one pool holds); `helps` says
    whether the best of two pools beats it under the objective.
    """

    plans: tuple[Plan, ...]
    one_pool: Plan | None
    helps: bool
    reasons: tuple[str, ...]
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Plans by rank, the Pareto frontier (speed per user against cost per token), and every rejected family.

    `decided_by` states what another reading of the question would change; `split` is there where it was asked for.
    """

    question: Question
    plans: tuple[Plan, ...]
    frontier: tuple[Plan, ...]
    rejections: tuple[Rejection, ...]
    decided_by: tuple[str, ...]
    candidates: int
    split: SplitAnswer | None = None
