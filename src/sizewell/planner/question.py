"""What is asked: a model, a load, limits, an objective, and the assumptions an answer must repeat."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from math import isfinite
from typing import Literal, get_args

from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.hardware import LinkSpec
from sizewell.specs.model import ModelSpec
from sizewell.traffic.workload import Slo, Workload, refuse_gapless

Objective = Literal["cheapest", "cheapest-per-token", "fastest", "fewest-gpus", "greenest"]
PriceBasis = Literal["on-demand", "spot", "reserved-1y", "reserved-3y", "purchase"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan must keep; None or an empty tuple = no limit.

    `tokens_per_s_per_user` is a floor on 1 / TPOT. `min_recovery_fraction` is a floor on published accuracy recovery
    of the weight format (formats nobody published a figure for then fail). `gpu_keys`: only these accelerators;
    `node_keys`: only in these kinds of node. `purchase_usd` is the most that buying all nodes may cost.
    Raises BadInputError on values outside their range or limits that contradict each other.
    """

    slo: Slo = field(default_factory=Slo)
    tokens_per_s_per_user: float | None = None
    usd_per_hour: float | None = None
    usd_per_million_tokens: float | None = None
    purchase_usd: float | None = None
    power_w: float | None = None
    gpu_keys: tuple[str, ...] = ()
    node_keys: tuple[str, ...] = ()
    max_gpus: int | None = None
    max_nodes: int = 8
    min_recovery_fraction: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not (isfinite(value) and 0 < value <= 1e12):
                raise BadInputError(f"{item.name} is {value:g}: give a positive number up to 1e12")
        if self.min_recovery_fraction is not None and self.min_recovery_fraction > 1:
            raise BadInputError(f"min_recovery_fraction is {self.min_recovery_fraction:g}: give a fraction up to 1")
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        slo = self.slo
        if slo.tpot_s and self.tokens_per_s_per_user and 1 / self.tokens_per_s_per_user > slo.tpot_s * 1.0001:
            raise BadInputError(
                f"a TPOT limit of {slo.tpot_s * 1e3:g} ms already demands {1 / slo.tpot_s:g} tokens/s per user: "
                f"drop --tokens-per-s-per-user {self.tokens_per_s_per_user:g} or the TPOT limit"
            )
        in_time = (("TTFT", slo.ttft_s), ("TTFA", slo.ttfa_s), ("E2E", slo.e2e_s))
        stated = [(name, limit) for name, limit in in_time if limit]
        for (early, first), (late, last) in pairwise(stated):
            if first > last:
                raise BadInputError(f"the {early} limit {first:g} s is longer than the {late} limit {last:g} s")

    @property
    def tpot_s(self) -> float | None:
        """The tighter of the TPOT limit and the one a token rate per user implies."""
        implied = 1 / self.tokens_per_s_per_user if self.tokens_per_s_per_user else None
        bounds = [bound for bound in (self.slo.tpot_s, implied) if bound is not None]
        return min(bounds) if bounds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything an answer depends on besides facts.

    `weight_formats` are tried in order; `native` is what the checkpoint stores. `engine` names the engine whose rules
    apply. `offload` allows weights in host memory, `split` pools of prefill and decode, whose caches `kv_network`
    carries (None: what joins their accelerators). Two questions that compare equal have equal answers.
    Raises UnknownNameError for an objective or price basis there is not, BadInputError for a limit no load can have and
    for a network without pools.
    """

    model: ModelSpec
    workload: Workload
    limits: Limits = field(default_factory=Limits)
    objective: Objective = "cheapest"
    weight_formats: tuple[str, ...] = ("native",)
    kv_formats: tuple[str, ...] = ("auto",)
    price_basis: PriceBasis = "on-demand"
    offload: bool = False
    split: bool = False
    kv_network: LinkSpec | None = None

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise UnknownNameError("objective", self.objective, get_args(Objective))
        if self.price_basis not in get_args(PriceBasis):
            raise UnknownNameError("price basis", self.price_basis, get_args(PriceBasis))
        if self.kv_network and not self.split:
            raise BadInputError(f"--kv-network {self.kv_network.key} joins pools: say --split, which searches them")
        if self.limits.purchase_usd and self.price_basis != "purchase":
            raise BadInputError("--max-usd-to-buy limits a purchase: say --prices purchase, which counts nodes whole")
        refuse_gapless(self.workload, self.limits.tpot_s)

    @property
    def quantization_allowed(self) -> bool:
        """Whether a format other than the checkpoint's own may be chosen."""
        return self.weight_formats != ("native",)
